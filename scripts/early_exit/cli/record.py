"""``early-exit record``: what every exit says of pictures, as records that ``check`` reads."""

from __future__ import annotations

import argparse
from typing import Any

from early_exit.cli.options import add_pictures, add_policy

HELP = "What every exit says of pictures, in a Parquet file for `early-exit check`."
EPILOG = """\
The file has the layout of results/X/exits/*.parquet: a row a picture, in the order in which they
were read, with entropy, prediction and logits of each exit. A picture without a label has the
label -1.

--labels FILE     a CSV file with the columns picture and label: a path, as given here or from the
                  file's folder, and a class by name or number; some pictures may be left out
--labels folders  the name of the folder that a picture lies in is its class

exit status: 0 all fine, 1 some picture could not be read and was skipped, 2 nothing was done

  early-exit record photos/ --policy results/digits/selection/policy.json --output new.parquet
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Pictures, the policy, where the records go, and where labels come from."""
    add_pictures(parser)
    add_policy(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="the Parquet file to write")
    parser.add_argument(
        "--labels", metavar="WHERE", help="a CSV file, or the word folders; see below"
    )


def run(options: argparse.Namespace) -> int:
    """Run every exit on every picture, and write the records."""
    import numpy as np

    from early_exit.cli.experiment import read_experiment
    from early_exit.cli.labels import labels_of
    from early_exit.cli.pictures import Reader, find
    from early_exit.records import from_logits, write_records

    experiment = read_experiment(options.policy)
    manifest = experiment.manifest()
    reader = Reader(manifest["shape"], options.batch_size)
    # Before the network runs: a mistake in the labels shall not cost a pass.
    names = find(options.pictures)
    known = labels_of(names, options.labels, manifest["class_names"])
    read, logits = _all_exits(experiment, manifest, reader, names, options)
    if read:
        labels = np.array([known[place] for place in read])
        # Loading it has made sure that it is this one.
        identity = {"network": experiment.content["identity"]["network"], "split": "new"}
        records = from_logits(np.array(read), labels, logits, identity, whole=False, labelled=False)
        write_records(options.output, records)
    return reader.status


def _all_exits(
    experiment: Any, manifest: dict[str, Any], reader: Any, names: list[str], options: Any
) -> tuple[list[int], Any]:
    """Places in ``names`` of the pictures that could be read, and their logits (N, K, C)."""
    import numpy as np
    import torch
    from tqdm import tqdm

    from early_exit.cli.running import load

    network, engine = load(experiment, manifest, options)
    network = engine.ready(network)
    read, logits = [], []
    with torch.inference_mode(), tqdm(total=len(names), unit="img", disable=None) as bar:
        for batch, images in reader.batches(names):
            read += batch
            logits.append(network(engine.pictures(torch.from_numpy(images))).float().cpu().numpy())
            bar.update(batch[-1] + 1 - bar.n)
    return read, np.concatenate(logits) if logits else None
