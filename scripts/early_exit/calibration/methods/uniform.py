"""One threshold for all exits.

BranchyNet's own experiments search thresholds like this (Teerapittayanon et al. 2016, section IV).
The search is exact: it tries every threshold at which the result changes, since accuracy need not
be monotone in the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit.calibration.targets import Candidates, Target, pick
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples
from early_exit.policy.sweep import curves


def thresholds(samples: Samples, costs: UnitCosts, targets: Sequence[Target]) -> np.ndarray:
    """The best threshold for each target, shape (T, K-1)."""
    found = every_threshold(samples, costs)
    return np.stack([pick(found, samples, costs, target) for target in targets])


def every_threshold(samples: Samples, costs: UnitCosts) -> Candidates:
    """Never, always, and every threshold in between at which the result changes."""
    # Strict: a sample exits only at thresholds above its uncertainty.
    grid = np.concatenate([[-np.inf], np.unique(samples.uncertainty), [np.inf]])
    shares, accuracy = curves(samples.uncertainty, samples.correct, grid)
    cost = costs.means(grid, shares)
    correct = np.rint(accuracy * len(samples)).astype(np.int64)
    return Candidates(np.repeat(grid[:, None], samples.exits - 1, axis=1), correct, cost)
