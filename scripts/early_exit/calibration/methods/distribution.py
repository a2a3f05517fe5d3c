"""Geometric exit shares: the budgeted batch classification of MSDNet.

Huang et al. (2018, section 3.3): the share q^k z of all samples exits at exit k, the most confident
first. The ratio q is swept from nearly all at the first exit to nearly all at the last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit.calibration.targets import Target, pick, with_ends
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples

RATIOS = np.geomspace(0.02, 50.0, 240)


def thresholds(samples: Samples, costs: UnitCosts, targets: Sequence[Target]) -> np.ndarray:
    """The best of 240 ratios for each target, shape (T, K-1)."""
    rows = np.stack([geometric(samples, ratio) for ratio in RATIOS])
    found = with_ends(samples, costs, rows)
    return np.stack([pick(found, samples, costs, target) for target in targets])


def geometric(samples: Samples, ratio: float) -> np.ndarray:
    """The K-1 thresholds that give exit shares proportional to ``ratio ** k``."""
    shares = ratio ** np.arange(samples.exits)
    upto = np.rint(len(samples) * np.cumsum(shares / shares.sum())).astype(int)
    found = np.full(samples.exits - 1, -np.inf)
    reached = np.ones(len(samples), bool)
    for k in range(samples.exits - 1):
        rows = samples.order[:, k]
        rows = rows[reached[rows]]
        # Tied samples exit together, so more than the share may have exited already.
        exited = len(samples) - len(rows)
        found[k] = samples.cut(k, rows, min(upto[k] - exited, len(rows)))
        reached &= samples.exit_uncertainty[k] >= found[k]
    return found
