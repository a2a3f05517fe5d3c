"""Exit by exit, the loosest cut at which those who leave are right often enough.

At each exit in turn, of the samples still there, sorted by uncertainty, the most leave among whom
the share of right ones is at least the target. The "desired accuracy" of the published experiment,
taken at its word; Bolukbasi et al. (2017, section 3.2) train such a rule for one exit at a time,
too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit.cost_model import Prices
from early_exit.samples import Samples
from early_exit.targets import Target, pick_by_level

# The accuracies at the exits that a budget or a drop is met with.
LEVELS = 200


def thresholds(samples: Samples, prices: Prices, targets: Sequence[Target]) -> np.ndarray:
    """For an accuracy the cuts at it; see the package for the signature.

    For a budget or a drop the best of the policies for 200 accuracies.
    """
    lowest = samples.correct.mean(axis=0).min()
    levels = np.append(np.linspace(lowest, 1.0, LEVELS), np.inf)
    return pick_by_level(samples, prices, targets, cuts, levels)


def cuts(samples: Samples, accuracy: float) -> np.ndarray:
    """The K-1 thresholds at which those who leave each exit are right at least so often."""
    found = np.full(samples.exits - 1, -np.inf)
    waiting = np.ones(len(samples), bool)
    for k in range(samples.exits - 1):
        rows = samples.order[:, k]
        rows = rows[waiting[rows]]
        ordered = samples.uncertainty[rows, k]
        right = np.cumsum(samples.correct[rows, k])
        leave = np.arange(1, len(rows) + 1)
        # Those of one uncertainty leave together.
        last = np.append(ordered[1:] != ordered[:-1], True)[: len(rows)]
        good = np.flatnonzero(last & (right >= accuracy * leave - 1e-9))
        if len(good):
            found[k] = samples.cut(k, rows, good[-1] + 1)
            waiting &= samples.uncertainty[:, k] >= found[k]
    return found
