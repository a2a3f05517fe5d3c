"""``early-exit predict``: the class of pictures, and the exit that they took."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

from early_exit.cli.options import add_pictures, add_policy

HELP = "The class of pictures, the exit that each took, how unsure it was there, and the time."
EPILOG = """\
ms is the time of the batch divided by the pictures in it: scaling, network and decisions, but not
reading the files. The first batch is not timed cold: one black picture is run before.

exit status: 0 all fine, 1 some picture could not be read and was skipped, 2 nothing was done

  early-exit predict cat.jpg photos/ --policy results/digits/selection/policy.json
  early-exit predict - --json --policy results/digits/selection/policy.json < cat.jpg
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Pictures, the policy, and how to print."""
    add_pictures(parser)
    add_policy(parser)
    parser.add_argument("--json", action="store_true", help="a JSON object a line, not a table")


def run(options: argparse.Namespace) -> int:
    """Classify, printing as it goes."""
    from early_exit.cli.experiment import read_experiment
    from early_exit.cli.pictures import Reader, find

    experiment = read_experiment(options.policy)
    manifest = experiment.manifest()
    names = find(options.pictures)
    reader = Reader(manifest["shape"], options.batch_size)
    show = _as_json if options.json else _Table(names, manifest["class_names"])
    for row in _predicted(experiment, manifest, reader, names, options):
        show(row)
    return reader.status


def _predicted(
    experiment: Any, manifest: dict[str, Any], reader: Any, names: list[str], options: Any
) -> Iterator[dict[str, Any]]:
    """A row a picture, in order."""
    import torch

    from early_exit.cli.running import load
    from early_exit.inference import EarlyExitRunner

    network, engine = load(experiment, manifest, options)
    runner = EarlyExitRunner(network, experiment.policy, engine)
    runner(engine.pictures(torch.zeros(1, *manifest["shape"], dtype=torch.uint8)))
    for batch, images in reader.batches(names):
        start = time.perf_counter()
        results = runner(engine.pictures(torch.from_numpy(images)))
        prediction, exits, unsure = (result.tolist() for result in results)
        ms = 1e3 * (time.perf_counter() - start) / len(batch)
        for place, name in enumerate(names[number] for number in batch):
            yield {
                "picture": name,
                "class": manifest["class_names"][prediction[place]],
                "exit": exits[place] + 1,
                "uncertainty": unsure[place],
                "ms": ms,
            }


def _as_json(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


class _Table:
    """Prints rows below a heading, in columns as wide as names need."""

    def __init__(self, names: list[str], classes: list[str]) -> None:
        self.widths = [
            max(map(len, [*all_of, heading]))
            for all_of, heading in ((names, "picture"), (classes, "class"))
        ]
        self.begun = False

    def __call__(self, row: dict[str, Any]) -> None:
        picture, named = self.widths
        if not self.begun:
            print(f"{'picture':<{picture}}  {'class':<{named}}  exit  uncertainty        ms")
            self.begun = True
        print(
            f"{row['picture']:<{picture}}  {row['class']:<{named}}  {row['exit']:>4}"
            f"  {row['uncertainty']:>11.4g}  {row['ms']:>8.3f}",
            flush=True,
        )
