"""Stage network, shipped: a trained network as a checkpoint of the project, with its card."""

import shutil
from pathlib import Path

import numpy as np
import torch

from early_exit import networks
from early_exit.card import make_card, markdown
from early_exit.cost import count_macs
from early_exit.errors import InputError
from early_exit.files import read_json, read_table, replacing, sha256, write_json
from early_exit.origin import check_same_origin
from stage_inputs import read_split
from stage_runner import read_manifest, run_stage

# What may be kept in version control.
MOST_BYTES = 10_000_000


def main(snakemake):
    files, stem = snakemake.input, Path(snakemake.params.stem)
    network, identity = networks.load(files.network)
    file = {"sha256": sha256(files.network), "bytes": Path(files.network).stat().st_size}
    if file["bytes"] > MOST_BYTES:
        raise InputError(
            f"{files.network}: {file['bytes']:,} bytes; a checkpoint that ships has at most"
            f" {MOST_BYTES:,}: make the network smaller"
        )
    check_own(stem.with_suffix(".json"), snakemake.wildcards.experiment)
    splits = tuple(read_split(path) for path in (files.calibration, files.test))
    manifest, data = read_manifest(files.manifest)
    log = read_table(files.log, ["epoch", "loss", "seconds"])
    check_same_origin(
        data,
        (files.network, {"network": file["sha256"], "data": identity["data"]}),
        (files.calibration, splits[0].identity),
        (files.test, splits[1].identity),
        (files.log, log.attrs["identity"]),
    )
    card = make_card(
        stem.name,
        snakemake.wildcards.experiment,
        identity,
        manifest,
        splits,
        macs_of(network, identity["shape"]),
        log,
        file,
    )
    for source, suffix in ((files.network, ".safetensors"), (files.log, ".csv")):
        with replacing(stem.with_suffix(suffix)) as temporary:
            shutil.copyfile(source, temporary)
    with replacing(stem.with_suffix(".md")) as temporary:
        temporary.write_text(markdown(card), encoding="utf-8")
    write_json(stem.with_suffix(".json"), card)
    write_json(snakemake.output.shipped, card)


def check_own(card, experiment):
    """What another experiment shipped, and may use, is not replaced."""
    if not card.exists():
        return
    other = read_json(card).get("experiment", "")
    if other.partition("@")[0] != experiment.partition("@")[0]:
        raise InputError(
            f"{card}: was shipped by {other}, and {experiment} would replace it; move it and the"
            " files beside it elsewhere first"
        )


def macs_of(network, shape):
    """Multiply-accumulates of a picture that leaves at each exit, no head run on the way."""
    counted = count_macs(network, torch.zeros(1, *shape))
    exits = range(1, len(network.heads) + 1)
    stages = np.cumsum([counted["stage", number] for number in exits])
    return [int(stages[number - 1]) + counted["head", number] for number in exits]


if __name__ == "__main__":
    run_stage(main, snakemake)  # noqa: F821
