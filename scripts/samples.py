"""Step figures: draw some of the samples that exit at each exit."""

from pathlib import Path

import numpy as np
import torch

from early_exit.analysis.evaluation import samples_table, simulated
from early_exit.datasets.load import load_split
from early_exit.figures.samples import choose
from early_exit.figures.save import save_figure
from job.record_inputs import RecordInputs
from job.run import run_job

# Pixels of a thumbnail.
SIDE = 64


def main(snakemake):
    inputs, params = RecordInputs(snakemake), snakemake.params
    policy = inputs.policy()
    records = inputs.records(criteria=[policy.criterion])
    samples = samples_table(records, simulated(policy, records))
    shown = choose(samples.exit.to_numpy(), (samples.label == samples.prediction).to_numpy())
    images = None
    if "shape" in inputs.manifest:
        data = load_split(params.data_dir, "test", params.dataset, inputs.manifest).inputs
        images = {row: thumbnail(data, row) for rows in shown.values() for row in rows.tolist()}
    tables = {"samples": samples, "shown": shown, "images": images}
    tables |= {"class_names": inputs.manifest["class_names"]}
    tables["experiment"] = snakemake.wildcards.experiment
    save_figure("samples", tables, Path(snakemake.output.svg).parent)


def thumbnail(images, row):
    """One image, (height, width) or (height, width, 3), with at most SIDE pixels a side or so."""
    pixels = images[torch.tensor([row])][0].numpy()
    step = max(1, -(-max(pixels.shape[1:]) // SIDE))
    small = np.moveaxis(pixels[:, ::step, ::step], 0, -1)
    return small[..., :3] if small.shape[-1] >= 3 else small[..., 0]


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
