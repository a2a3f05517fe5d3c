"""Stage network, trained: all exits jointly, or one alone, on the train split only."""

import logging
from pathlib import Path

import torch

from early_exit import datasets, networks
from early_exit.engine import scaling
from early_exit.errors import InputError
from early_exit.files import sha256, write_table
from early_exit.training import Recipe, SavedState, train
from stage_runner import read_manifest, run_stage, use_threads, warn


def main(snakemake):
    use_threads(snakemake.threads)
    params = snakemake.params
    manifest, _ = read_manifest(snakemake.input.manifest, params.dataset)
    data = datasets.load(params.data_dir, "train", params.dataset)
    own, start, cut = params.network, snakemake.input.start, snakemake.wildcards.get("cut")

    def built(seed):
        torch.manual_seed(seed)
        shape = manifest["shape"]
        return networks.build(own["name"], manifest["classes"], shape, own.get("arguments"))

    network = built(params.seed)
    identity = {
        **networks.described(own),
        "classes": manifest["classes"],
        "shape": manifest["shape"],
        "data": manifest["digest"],
        "training": dict(params.training),
        "seed": params.seed,
    }
    if start:
        fresh = begin(network, start, identity)
    else:
        frozen = params.training.get("freeze_backbone")
        fresh = own_start(network, built(params.seed + 1)) if frozen else ()
    if cut:
        network = networks.cut(network, int(cut))
        # Its head is trained whatever it began with; of several exits' weights nothing is left.
        fresh = (0,)
        identity["training"] |= {"exit_weights": None, "distillation": 0.0}
        identity["cut"] = int(cut)
    teacher = taught_by(snakemake.input.teacher, manifest, identity)
    # Beside the output, and no output itself: Snakemake deletes those of a job that failed.
    output = Path(snakemake.output.network)
    path = output.with_name(output.stem.replace("network", "training_state") + ".pt")
    saved = SavedState(path, identity | {"code": params.code})
    recipe = Recipe(**identity["training"])
    where = (params.device, saved, fresh)
    log = train(network, data, recipe, params.seed, *where, **scaling(manifest), teacher=teacher)
    networks.save(network, snakemake.output.network, identity)
    made_by = {"network": sha256(snakemake.output.network), "data": manifest["digest"]}
    write_table(snakemake.output.log, log, made_by)
    saved.remove()


def begin(network, start, identity):
    """Give the network the weights that it begins with; which heads start afresh."""
    for name in ("whitening", "mirror_symmetric"):
        if identity["training"].get(name):
            raise InputError(
                f"training.{name}: it would replace weights of training.start_from; set one of them"
            )
    fresh = networks.load_start(network, start)
    identity["start"] = sha256(start)
    return told(fresh, start)


def taught_by(path, manifest, identity):
    """The network at ``path``, where there is one, for the same classes and pictures."""
    if not path:
        return None
    teacher, its_own = networks.load(path)
    for key in ("classes", "shape"):
        if its_own[key] != manifest[key]:
            raise InputError(
                f"training.teacher: {path} has {key} {its_own[key]}, the data {manifest[key]}; use"
                " a network that was trained on such data"
            )
    if warning := networks.trained_on_other(path, manifest["digest"]):
        warn(warning)
    identity["teacher"] = sha256(path)
    return teacher


def own_start(network, again):
    """The heads that start afresh where a class brings its backbone's weights along itself."""
    stages, fresh = networks.begun_by_chance(network, again)
    if stages:
        raise InputError(
            f"training.freeze_backbone: stage {stages[0] + 1} begins by chance, so there are no"
            " weights to keep; name some in training.start_from"
        )
    return told(fresh, "its class")


def told(fresh, source):
    """The heads that start afresh, which the log says, too."""
    heads = ", ".join(str(k + 1) for k in fresh) or "none"
    logging.info("Begins with the weights of %s; heads that start afresh: %s", source, heads)
    return fresh


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
