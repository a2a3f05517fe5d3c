"""One threshold for all exits.

BranchyNet's own experiments screen thresholds like this (Teerapittayanon et al. 2016, section IV).
Exact: every threshold at which anything changes is tried, since accuracy need not fall steadily.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit.cost_model import Prices
from early_exit.samples import Samples
from early_exit.sweep import curves
from early_exit.targets import Candidates, Target, pick


def thresholds(samples: Samples, prices: Prices, targets: Sequence[Target]) -> np.ndarray:
    """The best threshold for each target; see the package for the signature."""
    found = every_threshold(samples, prices)
    return np.stack([pick(found, samples, prices, target) for target in targets])


def every_threshold(samples: Samples, prices: Prices) -> Candidates:
    """Nobody leaving, everybody leaving, and every threshold between at which anything changes."""
    # The comparison is strict: just above a sample's uncertainty it leaves, at it it does not.
    grid = np.concatenate([[-np.inf], np.unique(samples.uncertainty), [np.inf]])
    shares, accuracy = curves(samples.uncertainty, samples.correct, grid)
    cost = prices.means(grid, shares)
    correct = np.rint(accuracy * len(samples)).astype(np.int64)
    return Candidates(np.repeat(grid[:, None], samples.exits - 1, axis=1), correct, cost)
