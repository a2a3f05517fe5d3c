"""Step network: ship a trained network as a checkpoint of the project, with its card."""

import shutil
from pathlib import Path

import numpy as np

from early_exit.analysis.model_card import make_card, markdown
from early_exit.errors import InputError
from early_exit.inference.cost import count_macs
from early_exit.io.files import read_json, replacing, sha256, write_json
from early_exit.networks.checkpoint import load_network
from early_exit.structures.inputs import InputSpec
from job.record_inputs import RecordInputs
from job.run import run_job, warn

# Limit for files in version control.
MOST_BYTES = 10_000_000


def main(snakemake):
    inputs, stem = RecordInputs(snakemake), Path(snakemake.params.stem)
    files, experiment = inputs.files, snakemake.wildcards.experiment
    network, described = inputs.network(load_network)
    file = {"sha256": sha256(files.network), "bytes": Path(files.network).stat().st_size}
    if file["bytes"] > MOST_BYTES:
        raise InputError(
            f"{files.network}: {file['bytes']:,} bytes, but a shipped checkpoint has at most"
            f" {MOST_BYTES:,}",
            "make the network smaller",
        )
    check_own(stem.with_suffix(".json"), experiment)
    card = make_card(
        stem.name,
        experiment,
        described,
        inputs.manifest,
        (inputs.records("calibration"), inputs.records("test")),
        macs_of(network, InputSpec.read(described)),
        inputs.table("log", ["epoch", "loss", "seconds"]),
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
    """Raise if another experiment shipped the card: it may use the checkpoint."""
    if not card.exists():
        return
    other = read_json(card).get("experiment", "")
    if other.partition("@")[0] != experiment.partition("@")[0]:
        raise InputError(
            f"{card}: was shipped by {other}, and {experiment} would replace it",
            "move it and the files beside it away first",
        )


def macs_of(network, spec):
    """Multiply-accumulates of a sample that exits at each exit, with no earlier head run."""
    counted = count_macs(network, InputSpec.of(spec).batch(1), warn)
    exits = range(1, len(network.heads) + 1)
    stages = np.cumsum([counted["stage", number] for number in exits])
    return [int(stages[number - 1]) + counted["head", number] for number in exits]


if __name__ == "__main__":
    run_job(main, snakemake)  # noqa: F821
