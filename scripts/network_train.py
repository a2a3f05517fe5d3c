"""Step network: train all exits jointly, or one alone, on the train split only."""

import logging
from pathlib import Path

import torch

from early_exit.datasets.load import load_split
from early_exit.errors import InputError
from early_exit.inference.engine import scaling
from early_exit.io.files import sha256, write_table
from early_exit.networks.build import build_network, cut_network, describe_network
from early_exit.networks.checkpoint import (
    begun_by_chance,
    load_network,
    load_start,
    save_network,
    trained_on_other,
)
from early_exit.networks.checks import check_confidence
from early_exit.structures.inputs import InputSpec
from early_exit.training.loop import train
from early_exit.training.recipe import Recipe
from early_exit.training.state import SavedState
from job.run import read_manifest, run_job, use_threads, warn
from job.weights import first_of, weights_checksum


def main(snakemake):
    params = snakemake.params
    use_threads(params.threads)
    # Not limited to the processors: another number changes the order of sums, and so the network
    # that a seed gives.
    torch.set_num_threads(params.threads)
    logging.info("Training with %d threads", params.threads)
    manifest, _ = read_manifest(snakemake.input.manifest, params.dataset)
    data = load_split(params.data_dir, "train", params.dataset, manifest)
    spec = InputSpec.read(manifest)
    own, cut = params.network, snakemake.wildcards.get("cut")
    start = first_of(snakemake.input.start)

    def built(seed):
        torch.manual_seed(seed)
        return build_network(own["name"], manifest["classes"], spec, own.get("arguments"), warn)

    network = built(params.seed)
    # Before the training: the records would lack it.
    check_confidence(network, spec.batch(2), params.measure)
    provenance = {
        **describe_network(own),
        "classes": manifest["classes"],
        **spec.described(),
        "data": manifest["digest"],
        "training": dict(params.training),
        "seed": params.seed,
    }
    if start:
        fresh = load_start_weights(network, start, params.start_key, provenance)
    else:
        frozen = params.training.get("freeze_backbone")
        fresh = start_of_class(network, built(params.seed + 1)) if frozen else ()
    if cut:
        network = cut_network(network, int(cut))
        # The one head is trained in any case; weights of several exits do not apply.
        fresh = (0,)
        provenance["training"] |= {"exit_weights": None, "distillation": 0.0}
        provenance["cut"] = int(cut)
    teacher = load_teacher(snakemake.input.teacher, manifest, provenance, params.trusted)
    # Not an output: Snakemake deletes the outputs of a failed job.
    output = Path(snakemake.output.network)
    path = output.with_name(output.stem.replace("network", "training_state") + ".pt")
    saved = SavedState(path, provenance | {"code": params.code})
    recipe = Recipe(**provenance["training"])
    where = (params.device, saved, fresh)
    log = train(network, data, recipe, params.seed, *where, **scaling(manifest), teacher=teacher)
    save_network(network, snakemake.output.network, provenance)
    made_by = {"network": sha256(snakemake.output.network), "data": manifest["digest"]}
    write_table(snakemake.output.log, log, made_by)
    saved.remove()


def load_start_weights(network, start, key, provenance):
    """Load the weights to start from; returns the indices of heads that start afresh."""
    for name in ("whitening", "mirror_symmetric"):
        if provenance["training"].get(name):
            raise InputError(
                f"training.{name}: it would replace weights of training.start_from",
                "set only one of them",
            )
    fresh = load_start(network, start, key)
    provenance["start"] = weights_checksum(start)
    if key:
        provenance["start_key"] = key
    return log_fresh_heads(fresh, start)


def load_teacher(path, manifest, provenance, trusted):
    """The network at ``path`` for the same classes and images; ``None`` without a path."""
    if not path:
        return None
    teacher, its_own = load_network(path, trusted)
    remedy = "use a network that was trained on such data"
    if its_own["classes"] != manifest["classes"]:
        raise InputError(
            f"training.teacher: {path} has classes {its_own['classes']}, the data"
            f" {manifest['classes']}",
            remedy,
        )
    theirs, wanted = InputSpec.read(its_own), InputSpec.read(manifest)
    if theirs != wanted:
        raise InputError(
            f"training.teacher: {path} has shape {theirs.shapes}, the data {wanted.shapes}", remedy
        )
    if warning := trained_on_other(path, manifest["digest"]):
        warn(warning)
    provenance["teacher"] = sha256(path)
    return teacher


def start_of_class(network, again):
    """Indices of heads that start afresh, for a class that loads its backbone's weights itself."""
    stages, fresh = begun_by_chance(network, again)
    if stages:
        raise InputError(
            f"training.freeze_backbone: stage {stages[0] + 1} has random weights, so there are none"
            " to keep",
            "set training.start_from",
        )
    return log_fresh_heads(fresh, "its class")


def log_fresh_heads(fresh, source):
    """Log which heads start afresh, and return them."""
    heads = ", ".join(str(k + 1) for k in fresh) or "none"
    logging.info("Starting from the weights of %s; heads that start afresh: %s", source, heads)
    return fresh


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
