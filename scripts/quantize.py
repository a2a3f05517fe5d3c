"""Step quantize: make the graphs of int8, calibrated and checked on samples of the train split."""

from pathlib import Path

import numpy as np
import torch

from early_exit.datasets.load import load_split
from early_exit.errors import InputError
from early_exit.inference.backends.graph_file import write_graphs_file
from early_exit.inference.quantization import Samples, quantize
from early_exit.networks.checkpoint import load_network
from early_exit.structures.tree import rows
from job.engine import engine_of
from job.inputs import Inputs
from job.run import run_job, use_threads, warn


def main(snakemake):
    inputs, params, path = Inputs(snakemake), snakemake.params, Path(snakemake.output.graphs)
    settings = params.quantization
    network, _ = inputs.network(load_network)
    split = load_split(params.data_dir, "train", params.dataset, inputs.manifest)
    used = params.inference | {"threads": use_threads(params.inference["threads"])}
    used |= {"backend": "onnxruntime", "precision": "fp32", "device": "cpu"}
    engine = engine_of(used, inputs.manifest, inputs.files.graphs)
    own = drawn(split, settings["samples"], settings["held_out"])
    found = quantize(network, engine, own, settings["max_drop"], path.parent)
    if found["fp32"]:
        warn(f"quantize: in fp32 stay {', '.join(found['fp32'])}; see {path}")
    write_graphs_file(path, found | {"settings": settings}, inputs.provenance())


def drawn(split, samples, held_out):
    """Samples of a split, drawn at random with a fixed seed: for calibration, and others."""
    if len(split) < 2:
        raise InputError("quantize: the train split has too few samples", "use precision: fp32")
    order = np.random.default_rng(0).permutation(len(split))
    # Of few samples, half are held out.
    samples = min(samples, len(split) // 2)
    first, others = (
        torch.from_numpy(np.sort(part))
        for part in (order[:samples], order[samples : samples + held_out])
    )
    return Samples(
        rows(split.inputs, first), rows(split.inputs, others), split.labels[others].numpy()
    )


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
