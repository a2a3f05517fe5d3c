"""A geometric share of the samples leaves at each exit: MSDNet's budgeted batch classification.

Huang et al. (2018), section 3.3: of the samples that are left, the share q^k z leaves at exit k,
the surest first; q is swept from "nearly all at once" to "nearly all at the end".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit.cost_model import Prices
from early_exit.samples import Samples
from early_exit.targets import Target, pick, with_ends

RATIOS = np.geomspace(0.02, 50.0, 240)


def thresholds(samples: Samples, prices: Prices, targets: Sequence[Target]) -> np.ndarray:
    """The best of 240 ratios for each target; see the package for the signature."""
    rows = np.stack([geometric(samples, ratio) for ratio in RATIOS])
    found = with_ends(samples, prices, rows)
    return np.stack([pick(found, samples, prices, target) for target in targets])


def geometric(samples: Samples, ratio: float) -> np.ndarray:
    """The K-1 thresholds at which shares proportional to ``ratio ** k`` leave."""
    shares = ratio ** np.arange(samples.exits)
    leave = np.rint(len(samples) * np.cumsum(shares / shares.sum())).astype(int)
    found = np.full(samples.exits - 1, -np.inf)
    waiting = np.ones(len(samples), bool)
    for k in range(samples.exits - 1):
        rows = samples.order[:, k]
        rows = rows[waiting[rows]]
        # Tied samples leave together, so more than their share may be gone already.
        gone = len(samples) - len(rows)
        found[k] = samples.cut(k, rows, min(leave[k] - gone, len(rows)))
        waiting &= samples.uncertainty[:, k] >= found[k]
    return found
