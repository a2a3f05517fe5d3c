"""CPU-seconds of each criterion and method with many exits and classes, on made-up logits.

    python tests/many_classes.py [--exits 17 40] [--classes 1000] [--samples 2000]

Prints a line for each criterion: fitting it and computing its uncertainties, and finding thresholds
for a quarter of the MACs by each method.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import early_exit
from early_exit.records.uncertainty.measures import NAMES

METHODS = ("uniform", "percentile", "accuracy_target", "distribution", "coordinate")
METHODS += ("dynamic_programming", "exact_grid")
# These take a drop, not a budget.
CERTIFIED = ("certified", "certified_path")


def drawn(samples: int, exits: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K, C) whose true class stands out more from exit to exit, and labels."""
    rng = np.random.default_rng([samples, exits, classes])
    labels = rng.integers(0, classes, samples)
    logits = rng.standard_normal((samples, exits, classes), np.float32)
    signal = np.linspace(2, 6, exits, dtype=np.float32) + rng.normal(0, 1.5, (samples, 1))
    logits[np.arange(samples)[:, None], np.arange(exits), labels[:, None]] += signal
    return logits, labels


def timed(exits: int, classes: int, samples: int) -> None:
    """A line for each criterion."""
    logits, labels = drawn(samples, exits, classes)
    macs = np.linspace(1e6, exits * 1e6, exits)
    run = early_exit.from_logits(logits, labels, macs=macs, head_macs=np.full(exits, 2e4))
    print(f"| {exits} exits, {classes} classes | fit | {' | '.join((*METHODS, *CERTIFIED))} |")
    for name in NAMES:
        start = time.process_time()
        own = run.using(measure=name)
        cells = [f"{time.process_time() - start:.1f}"]
        for method in (*METHODS, *CERTIFIED):
            start = time.process_time()
            target = {"drop": 0.05} if method in CERTIFIED else {"macs_share": 0.25}
            own.calibrate(method, **target)
            cells.append(f"{time.process_time() - start:.1f}")
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--exits", type=int, nargs="*", default=[17, 40])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=2000)
    options = parser.parse_args()
    for exits in options.exits:
        timed(exits, options.classes, options.samples)


if __name__ == "__main__":
    main()
