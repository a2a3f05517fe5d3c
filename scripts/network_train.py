"""Stage network, trained: all exits jointly, or one alone, on the train split only."""

from pathlib import Path

import torch

from early_exit import datasets, networks
from early_exit.files import sha256, write_table
from early_exit.training import Recipe, SavedState, train
from stage_runner import read_manifest, run_stage, use_threads


def main(snakemake):
    use_threads(snakemake.threads)
    params = snakemake.params
    manifest, _ = read_manifest(snakemake.input.manifest, params.dataset)
    data = datasets.load(params.data_dir, "train", params.dataset)
    torch.manual_seed(params.seed)
    name = params.network["name"]
    network = networks.build(name, manifest["classes"], manifest["shape"])
    recipe, cut = dict(params.training), snakemake.wildcards.get("cut")
    if cut:
        network = networks.cut(network, int(cut))
        # Of several exits' weights, and of a teacher, nothing is left.
        recipe |= {"exit_weights": None, "distillation": 0.0}
    identity = {
        "network": name,
        "classes": manifest["classes"],
        "shape": manifest["shape"],
        "data": manifest["digest"],
        "training": recipe,
        "seed": params.seed,
        **({"cut": int(cut)} if cut else {}),
    }
    # Beside the output, and no output itself: Snakemake deletes those of a job that failed.
    output = Path(snakemake.output.network)
    path = output.with_name(output.stem.replace("network", "training_state") + ".pt")
    saved = SavedState(path, identity | {"code": params.code})
    log = train(network, data, Recipe(**recipe), params.seed, params.device, saved)
    networks.save(network, snakemake.output.network, identity)
    made_by = {"network": sha256(snakemake.output.network), "data": manifest["digest"]}
    write_table(snakemake.output.log, log, made_by)
    saved.remove()


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
