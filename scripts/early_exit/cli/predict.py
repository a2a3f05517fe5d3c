"""``early-exit predict``: classifies new samples under a policy."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any, TextIO

from early_exit.cli.options import add_inputs, add_policy, add_trust
from early_exit.io.names import shown

HELP = "Predict the class of samples; show exit, uncertainty and time of each."
EPILOG = """\
ms is the time of a batch divided by its samples: scaling, network and decisions, without reading
the files. One sample is run first, to warm up.

exit status: 0 all fine, 2 nothing was done, 4 some samples could not be read and were skipped

  early-exit predict cat.jpg photos/ --policy results/digits/selection/policy.json
  early-exit predict - --json --policy results/digits/selection/policy.json < cat.jpg
  early-exit predict --npz new.npz --policy results/windows/selection/policy.json
  echo "wake me at seven" | early-exit predict --text --policy results/texts/selection/policy.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: samples, policy, output format."""
    add_inputs(parser)
    add_policy(parser)
    add_trust(parser)
    parser.add_argument(
        "--json", action="store_true", help="print a JSON object per line, not a table"
    )


def run(options: argparse.Namespace) -> int:
    """Classify the samples, printing each result at once; returns the exit status."""
    from early_exit.cli.experiment import read_experiment
    from early_exit.cli.inputs import chosen_inputs
    from early_exit.cli.results import only_results

    experiment = read_experiment(options.policy)
    manifest = experiment.manifest()
    with only_results() as results:
        # Within: the user's code may print.
        reader = chosen_inputs(manifest, options, options.policy)
        titles = (reader.noun, reader.names), ("class", manifest["class_names"])
        show = _Lines(results) if options.json else _Table(results, *titles)
        for row in _predicted(experiment, manifest, reader, options):
            show(row)
    return reader.status


def _predicted(
    experiment: Any, manifest: dict[str, Any], reader: Any, options: Any
) -> Iterator[dict[str, Any]]:
    """Yield a row per sample, in order."""
    from early_exit.cli.running import load
    from early_exit.datasets.arrays import tensors
    from early_exit.inference.runner import EarlyExitRunner
    from early_exit.structures.inputs import InputSpec

    network, engine = load(experiment, manifest, options)
    runner = EarlyExitRunner(network, experiment.policy, engine)
    runner(engine.prepare(InputSpec.read(manifest).stored(1)))
    for batch, inputs in reader.batches():
        start = time.perf_counter()
        results = runner(engine.prepare(tensors(inputs)))
        prediction, exits, unsure = (result.tolist() for result in results)
        ms = 1e3 * (time.perf_counter() - start) / len(batch)
        for row, name in enumerate(reader.names[index] for index in batch):
            yield {
                reader.noun: name,
                "class": manifest["class_names"][prediction[row]],
                "exit": exits[row] + 1,
                "uncertainty": unsure[row],
                "ms": ms,
            }


class _Lines:
    """Prints rows as JSON, one object per line."""

    def __init__(self, results: TextIO) -> None:
        self.results = results

    def __call__(self, row: dict[str, Any]) -> None:
        print(json.dumps(row), file=self.results, flush=True)


class _Table:
    """Prints rows below a heading, in columns as wide as the longest name."""

    def __init__(self, results: TextIO, *columns: tuple[str, list[str]]) -> None:
        self.results = results
        self.headings = [heading for heading, _ in columns]
        self.widths = [
            max(len(heading), *(len(shown(value)) for value in values), 0)
            for heading, values in columns
        ]
        self.begun = False

    def __call__(self, row: dict[str, Any]) -> None:
        cells = [shown(row[heading]) for heading in self.headings]
        if not self.begun:
            print(f"{self._padded(self.headings)}  exit  uncertainty        ms", file=self.results)
            self.begun = True
        print(
            f"{self._padded(cells)}  {row['exit']:>4}  {row['uncertainty']:>11.4g}"
            f"  {row['ms']:>8.3f}",
            file=self.results,
            flush=True,
        )

    def _padded(self, cells: list[str]) -> str:
        columns = zip(cells, self.widths, strict=True)
        return "  ".join(f"{cell:<{width}}" for cell, width in columns)
