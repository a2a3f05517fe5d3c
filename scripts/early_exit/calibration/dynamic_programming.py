"""Backward dynamic programming: fitted value iteration for optimal stopping.

From the last exit backward, what going on is worth (accuracy - penalty x cost, under the decisions
already made behind it) is compared with leaving now; the gain is regressed on a smooth function of
the uncertainty, since of a new sample only that is known, and those leave for whom it is not
negative. Longstaff and Schwartz (2001, section 1) and Tsitsiklis and Van Roy (2001) do this for
options. The smooth function is a cubic of the rank, so thresholds move with any monotone transform
of the measure. A second and a third pass regress on those only who reach the exit under the
decisions before.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from early_exit.cost_model import Prices
from early_exit.samples import Samples
from early_exit.targets import Target, pick, with_ends

# Points of accuracy that the whole network's cost is worth.
PENALTIES = np.concatenate([[0.0], np.geomspace(0.005, 10.0, 120)])
DEGREE = 3
PASSES = 3
# Between neighbours on the path, which jumps where a whole group of samples changes its exit.
STEPS_BETWEEN = 16


def thresholds(samples: Samples, prices: Prices, targets: Sequence[Target]) -> np.ndarray:
    """The best of the path for each target; see the package for the signature."""
    rows = path(samples, prices)
    between = [samples.between(*pair, STEPS_BETWEEN) for pair in pairwise(rows)]
    found = with_ends(samples, prices, np.concatenate([rows, *between]))
    return np.stack([pick(found, samples, prices, target) for target in targets])


def path(samples: Samples, prices: Prices) -> np.ndarray:
    """Thresholds (P, K-1) along the penalty, from safe to bold."""
    return np.stack([solve(samples, prices, penalty) for penalty in PENALTIES])


def solve(samples: Samples, prices: Prices, penalty: float) -> np.ndarray:
    """The K-1 thresholds for one penalty."""
    found = np.full(samples.exits - 1, np.inf)
    reached = np.ones((samples.exits - 1, len(samples)), bool)
    for _ in range(PASSES):
        found = _backward(samples, prices, penalty, reached)
        for k in range(1, samples.exits - 1):
            reached[k] = reached[k - 1] & (samples.uncertainty[:, k - 1] >= found[k - 1])
    return found


def _backward(samples: Samples, prices: Prices, penalty: float, reached: np.ndarray) -> np.ndarray:
    """One pass from the last exit to the first, fitted on those who ``reached`` each exit."""
    stage, head = (penalty * price / prices.whole for price in (prices.stage, prices.head))
    found = np.full(samples.exits - 1, -np.inf)
    value = samples.correct[:, -1] - head[-1]
    for k in range(samples.exits - 2, -1, -1):
        going_on = value - stage[k + 1]
        now = samples.correct[:, k]
        rows = samples.order[:, k]
        # Where too few get here, what the others would do is the better guess.
        if reached[k].sum() > DEGREE:
            rows = rows[reached[k][rows]]
        fitted = _smooth(samples.uncertainty[rows, k], (now - going_on)[rows])
        found[k] = _cut(samples, k, rows, fitted, head[k])
        leaves = samples.uncertainty[:, k] < found[k]
        value = np.where(leaves, now, going_on)
        if found[k] > -np.inf:
            value = value - head[k]
    return found


def _smooth(ordered: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Least squares of ``gain`` on a cubic of the rank of the ``ordered`` uncertainties."""
    if len(gain) <= DEGREE:
        return np.full(len(gain), gain.mean() if len(gain) else 0.0)
    # Tied samples share the middle of their ranks.
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ends = np.append(starts[1:], len(ordered))
    rank = np.repeat((starts + ends) / len(ordered) - 1.0, ends - starts)
    basis = np.polynomial.legendre.legvander(rank, DEGREE)
    # A pseudo-inverse: where few values occur the cubic has fewer terms than it could.
    products = np.linalg.pinv(basis.T @ basis, rcond=1e-10, hermitian=True)
    return basis @ (products @ (basis.T @ gain))


def _cut(samples: Samples, exit: int, rows: np.ndarray, fitted: np.ndarray, head: float) -> float:
    """Where the fitted gain, summed over those who leave, is greatest, if it pays for the head.

    For a gain that falls with the uncertainty that is where it turns negative.
    """
    if not len(rows):
        return -np.inf
    total = np.cumsum(fitted)
    best = int(total.argmax())
    return samples.cut(exit, rows, best + 1) if total[best] > head * len(rows) else -np.inf
