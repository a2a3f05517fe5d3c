"""Exit by exit, the highest threshold at which the samples that exit meet the target accuracy.

At each exit in turn, the samples that reach it are sorted by uncertainty, and as many exit as
possible with an accuracy of at least the target. This is the literal meaning of the published
experiment's "desired accuracy"; Bolukbasi et al. (2017, section 3.2) also train such a rule for one
exit at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit.calibration.targets import Target, pick_by_level
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples

# Number of accuracies that are tried for a budget or a drop.
LEVELS = 200


def thresholds(samples: Samples, costs: UnitCosts, targets: Sequence[Target]) -> np.ndarray:
    """Thresholds for each target, shape (T, K-1).

    A budget or a drop gets the best of the policies for 200 accuracies.
    """
    lowest = samples.correct.mean(axis=0).min()
    levels = np.append(np.linspace(lowest, 1.0, LEVELS), np.inf)
    return pick_by_level(samples, costs, targets, cuts, levels)


def cuts(samples: Samples, accuracy: float) -> np.ndarray:
    """The K-1 thresholds at which the samples that exit have at least this accuracy."""
    found = np.full(samples.exits - 1, -np.inf)
    reached = np.ones(len(samples), bool)
    for k in range(samples.exits - 1):
        order = samples.order[:, k]
        here = reached[order]
        rows, ordered = order[here], samples.ordered[k][here]
        correct = np.cumsum(samples.exit_correct[k][rows])
        exited = np.arange(1, len(rows) + 1)
        # Tied samples exit together.
        last = np.append(ordered[1:] != ordered[:-1], True)[: len(rows)]
        good = np.flatnonzero(last & (correct >= accuracy * exited - 1e-9))
        if len(good):
            found[k] = samples.cut(k, rows, good[-1] + 1)
            reached &= samples.exit_uncertainty[k] >= found[k]
    return found
