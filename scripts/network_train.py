"""Stage network, trained: all exits jointly, or one alone, on the train split only."""

import logging
from pathlib import Path

import torch

from early_exit import datasets, networks
from early_exit.engine import scaling
from early_exit.errors import InputError
from early_exit.files import sha256, write_table
from early_exit.training import Recipe, SavedState, train
from stage_runner import read_manifest, run_stage, use_threads


def main(snakemake):
    use_threads(snakemake.threads)
    params = snakemake.params
    manifest, _ = read_manifest(snakemake.input.manifest, params.dataset)
    data = datasets.load(params.data_dir, "train", params.dataset)
    torch.manual_seed(params.seed)
    own, start, cut = params.network, snakemake.input.start, snakemake.wildcards.get("cut")
    network = networks.build(
        own["name"], manifest["classes"], manifest["shape"], own.get("arguments")
    )
    identity = {
        **networks.described(own),
        "classes": manifest["classes"],
        "shape": manifest["shape"],
        "data": manifest["digest"],
        "training": dict(params.training),
        "seed": params.seed,
    }
    fresh = begin(network, start, identity)
    if cut:
        network = networks.cut(network, int(cut))
        # Its head is trained whatever it began with; of several exits' weights nothing is left.
        fresh = (0,)
        identity["training"] |= {"exit_weights": None, "distillation": 0.0}
        identity["cut"] = int(cut)
    # Beside the output, and no output itself: Snakemake deletes those of a job that failed.
    output = Path(snakemake.output.network)
    path = output.with_name(output.stem.replace("network", "training_state") + ".pt")
    saved = SavedState(path, identity | {"code": params.code})
    recipe = Recipe(**identity["training"])
    log = train(
        network, data, recipe, params.seed, params.device, saved, fresh, **scaling(manifest)
    )
    networks.save(network, snakemake.output.network, identity)
    made_by = {"network": sha256(snakemake.output.network), "data": manifest["digest"]}
    write_table(snakemake.output.log, log, made_by)
    saved.remove()


def begin(network, start, identity):
    """Give the network the weights that it begins with, if any; which heads start afresh."""
    if not start:
        if identity["training"].get("freeze_backbone") and "source" not in identity:
            raise InputError(
                "training.freeze_backbone: there are no weights to keep; name some in"
                " training.start_from"
            )
        return ()
    if identity["training"].get("whitening"):
        raise InputError(
            "training.whitening: it would replace weights of training.start_from; set one of them"
        )
    fresh = networks.load_start(network, start)
    identity["start"] = sha256(start)
    heads = ", ".join(str(k + 1) for k in fresh) or "none"
    logging.info("Begins with the weights of %s; heads that start afresh: %s", start, heads)
    return fresh


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
