"""How far `coordinate` is from longer searches and from the bound, on made-up and real records.

    python tests/gaps.py [--exits 13 17 25 40] [--bounds 3 4 5 6 13 40] [--nodes 40]
    python tests/gaps.py --results results/corrected results/digits
    python tests/gaps.py --million

Without either, prints two tables: accuracies in %, at 5, 10, 25, 50 and 75 % of the full network's
MACs; and the bound. With `--results` the bound on records of finished experiments; with `--million`
the CPU-seconds of each method at a million samples.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import early_exit
from early_exit.calibration.bound import bound
from early_exit.calibration.local_search import search
from early_exit.calibration.methods import coordinate, dynamic_programming, exact_grid
from early_exit.calibration.targets import KINDS as TARGET_KINDS
from early_exit.calibration.targets import Target, evaluate, pick
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples
from many_exits import BUDGETS, KINDS, costs_of, drawn

TARGETS = [Target("macs_share", share) for share in BUDGETS]
# Random changes of the longer search, for each target.
LONGER = 100
# Beyond, one box: dividing the thresholds helps with few exits.
MOST_DIVIDED = 6
METHODS = ["uniform", "percentile", "accuracy_target", "distribution", "coordinate"]
METHODS += ["dynamic_programming", "exact_grid", "certified", "certified_path"]


def compared(exits: int, kind: str) -> None:
    """A line for each method, and for a longer search that starts from what they find."""
    samples, costs = drawn(exits, kind), costs_of(exits).in_unit("macs")
    rows = []
    for method in (coordinate, dynamic_programming, exact_grid):
        start = time.process_time()
        found = method.thresholds(samples, costs, TARGETS)
        seconds = time.process_time() - start
        rows.append((method.__name__.split(".")[-1], found, seconds))
    every = np.concatenate([found for _, found, _ in rows])
    start = time.process_time()
    longer = search(samples, costs, TARGETS, every, LONGER, seed=1)
    candidates = evaluate(samples, costs, np.concatenate([longer, every]))
    best = np.stack([pick(candidates, samples, costs, target) for target in TARGETS])
    rows.append(("best known", best, time.process_time() - start))
    for name, found, seconds in rows:
        shares = [100 * samples.counted(row)[0] / len(samples) for row in found]
        cells = " | ".join(f"{share:.2f}" for share in shares)
        print(f"| {exits} {kind} | `{name}` | {cells} | {seconds:.1f} |", flush=True)


def bounded(name: str, samples: Samples, costs: UnitCosts, nodes: int) -> None:
    """The limits at three budgets, by the decomposition alone and after branch and bound."""
    targets = [TARGETS[i] for i in (1, 2, 3)]
    known = coordinate.thresholds(samples, costs, targets)
    for target, row in zip(targets, known, strict=True):
        if np.isnan(row).any():
            print(f"| {name} | {target.value:.0%} | no policy |", flush=True)
            continue
        cells = []
        for most in sorted({1, nodes if samples.exits <= MOST_DIVIDED else 1}):
            start = time.process_time()
            found = bound(samples, costs, target, row, most)
            seconds = time.process_time() - start
            cells.append(f"{100 * found.limit:.2f} | {100 * found.gap:.2f} | {seconds:.0f}")
        reached, oracle = 100 * found.reached, 100 * found.oracle
        text = " | ".join(cells)
        print(
            f"| {name} | {target.value:.0%} | {reached:.2f} | {text} | {oracle:.2f} |", flush=True
        )


def recorded(folder: Path) -> tuple[Samples, UnitCosts]:
    """The calibration split of a finished experiment, by its measure, and its MACs."""
    run = early_exit.load(folder)
    samples = Samples.of(run._records("calibration"), run._criterion)
    return samples, run._source.costs.in_unit("macs")


def million() -> None:
    """A line for each method: CPU-seconds in milliseconds, with 5 exits."""
    samples, costs = drawn(5, count=1_000_000), costs_of(5).in_unit("ms")
    targets = [Target("ms_share", 0.5), Target("drop", 0.01, 0.1)]
    for name in METHODS:
        method = import_module(f"early_exit.calibration.methods.{name}")
        taken = [t for t in targets if t.kind in getattr(method, "KINDS", TARGET_KINDS)]
        start = time.process_time()
        method.thresholds(samples, costs, taken)
        print(f"| `{name}` | {time.process_time() - start:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--exits", type=int, nargs="*", default=[13, 17, 25, 40])
    parser.add_argument("--bounds", type=int, nargs="*", default=[3, 4, 5, 6, 13, 40])
    parser.add_argument("--nodes", type=int, default=40)
    parser.add_argument("--results", type=Path, nargs="+", default=[])
    parser.add_argument("--million", action="store_true")
    options = parser.parse_args()
    for folder in options.results:
        bounded(folder.name, *recorded(folder), options.nodes)
    if options.million:
        million()
    if options.results or options.million:
        return
    for exits in options.exits:
        for kind in KINDS:
            compared(exits, kind)
    for exits in options.bounds:
        bounded(str(exits), drawn(exits), costs_of(exits).in_unit("macs"), options.nodes)


if __name__ == "__main__":
    main()
