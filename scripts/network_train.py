"""Stage network, trained: all exits jointly, on the train split alone."""

from pathlib import Path

import torch

from early_exit import datasets, networks
from early_exit.files import read_json, write_table
from early_exit.training import Recipe, SavedState, train
from stage_runner import run_stage, use_threads


def main(snakemake):
    use_threads(snakemake.threads)
    manifest = read_json(snakemake.input.manifest)
    params = snakemake.params
    data = datasets.load(params.data_dir, "train", params.dataset)
    torch.manual_seed(params.seed)
    name = params.network["name"]
    network = networks.build(name, manifest["classes"], manifest["shape"])
    identity = {
        "network": name,
        "classes": manifest["classes"],
        "shape": manifest["shape"],
        "data": manifest["digest"],
        "training": params.training,
        "seed": params.seed,
    }
    # Beside the output, and no output itself: Snakemake deletes those of a job that failed.
    path = Path(snakemake.output.network).with_name("training_state.pt")
    saved = SavedState(path, identity | {"code": params.code})
    log = train(network, data, Recipe(**params.training), params.seed, params.device, saved)
    networks.save(network, snakemake.output.network, identity)
    write_table(snakemake.output.log, log)
    saved.remove()


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
