"""``early-exit record``: records every exit's outputs for new samples."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from early_exit.cli.options import add_inputs, add_policy, add_trust

HELP = "Record every exit's outputs for samples, in a Parquet file for `early-exit check`."
EPILOG = """\
The file has the layout of results/X/exits/*.parquet: a row per sample, in the order in which they
were read, with entropy, prediction, logits and, if the network's heads return one, confidence of
each exit. Samples without a label have label -1.

--labels FILE     a CSV file with the columns image (a path from the working folder or from the
                  file's folder) and label (a class name or index); samples may be missing. Lines
                  are called FILE:1, FILE:2, ... there
--labels folders  take the name of a file's folder as its class
An array `labels` in the file of --npz is used without being asked for.

exit status: 0 all fine, 2 nothing was done, 4 some samples could not be read and were skipped

  early-exit record photos/ --policy results/digits/selection/policy.json --output new.parquet
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: samples, policy, output file, source of labels."""
    add_inputs(parser)
    add_policy(parser)
    add_trust(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="Parquet file to write")
    parser.add_argument(
        "--labels", metavar="WHERE", help="a CSV file, or the word folders; see below"
    )


def run(options: argparse.Namespace) -> int:
    """Run every exit on every sample and write the records; returns the exit status."""
    import numpy as np

    from early_exit.cli.experiment import read_experiment
    from early_exit.cli.inputs import chosen_inputs
    from early_exit.cli.labels import check_labels, labels_of
    from early_exit.records.parquet import write_records
    from early_exit.records.table import from_logits

    experiment = read_experiment(options.policy)
    manifest = experiment.manifest()
    reader = chosen_inputs(manifest, options, options.policy)
    # Before the network runs: an error in the labels should not cost a pass.
    known = reader.labels
    if known is None or options.labels is not None:
        known = labels_of(reader.names, options.labels, manifest["class_names"])
    check_labels(known, len(manifest["class_names"]))
    read, found = _all_exits(experiment, manifest, reader, options)
    if read:
        labels = np.array([known[index] for index in read])
        # The network was checked against the policy when it was loaded.
        identity = experiment.content["identity"]
        provenance = {"network": identity["network"], "split": "new"}
        provenance |= {key: identity[key] for key in ("engine",) if key in identity}
        records = from_logits(
            np.array(read),
            labels,
            found.logits,
            provenance,
            whole=False,
            labelled=False,
            confidence=found.confidence,
        )
        write_records(options.output, records)
    return reader.status


def _all_exits(
    experiment: Any, manifest: dict[str, Any], reader: Any, options: Any
) -> tuple[list[int], Any]:
    """Indices of the samples that could be read, and every exit's outputs."""
    from itertools import chain

    from tqdm import tqdm

    from early_exit.cli.running import load
    from early_exit.datasets.arrays import tensors
    from early_exit.inference.exits import outputs_of

    network, engine = load(experiment, manifest, options)
    read: list[int] = []
    total, unit = len(reader.names), reader.unit

    def batches() -> Iterator[Any]:
        with tqdm(total=total, unit=unit, disable=None) as bar:
            for batch, inputs in reader.batches():
                yield engine.prepare(tensors(inputs))
                read.extend(batch)
                bar.update(batch[-1] + 1 - bar.n)

    every = batches()
    first = next(every, None)
    return read, None if first is None else outputs_of(network, chain([first], every))
