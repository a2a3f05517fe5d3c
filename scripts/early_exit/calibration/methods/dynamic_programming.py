"""Backward dynamic programming: fitted value iteration for optimal stopping.

From the last exit backward, the value (accuracy - penalty x cost) of exiting now is compared with
that of continuing under the thresholds of the later exits. The gain is regressed on a smooth
function of the uncertainty, all that is known of a new sample, and samples with a non-negative
fitted gain exit. Longstaff and Schwartz (2001, section 1) and Tsitsiklis and Van Roy (2001) price
options in this way. The smooth function is a cubic of the rank, so thresholds are equivariant under
monotone transforms of the measure. A second and a third pass regress only on the samples that reach
the exit under the thresholds of the pass before. Of more than 100,000 samples, it fits on as many.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from early_exit.calibration.targets import MOST_FITTED, Target, on_all, pick, with_ends
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples

# Accuracy that is traded for the full network's cost, as a share of samples.
PENALTIES = np.concatenate([[0.0], np.geomspace(0.005, 10.0, 120)])
DEGREE = 3
PASSES = 3
# Policies between neighbours on the path, which jumps where many samples change their exit.
STEPS_BETWEEN = 16


def thresholds(samples: Samples, costs: UnitCosts, targets: Sequence[Target]) -> np.ndarray:
    """The best policy of the path for each target, shape (T, K-1)."""
    few = samples.subset(MOST_FITTED)
    rows = path(few, costs)
    between = [few.between(*pair, STEPS_BETWEEN) for pair in pairwise(rows)]
    found = with_ends(few, costs, np.concatenate([rows, *between]))
    if few is not samples:
        found = on_all(samples, costs, found)
    return np.stack([pick(found, samples, costs, target) for target in targets])


def path(samples: Samples, costs: UnitCosts) -> np.ndarray:
    """Thresholds (P, K-1) by ascending penalty, from safe to bold."""
    return np.stack([solve(samples, costs, penalty) for penalty in PENALTIES])


def solve(samples: Samples, costs: UnitCosts, penalty: float) -> np.ndarray:
    """The K-1 thresholds for one penalty."""
    found = np.full(samples.exits - 1, np.inf)
    reached = np.ones((samples.exits - 1, len(samples)), bool)
    for _ in range(PASSES):
        found = _backward(samples, costs, penalty, reached)
        for k in range(1, samples.exits - 1):
            reached[k] = reached[k - 1] & (samples.uncertainty[:, k - 1] >= found[k - 1])
    return found


def _backward(
    samples: Samples, costs: UnitCosts, penalty: float, reached: np.ndarray
) -> np.ndarray:
    """One pass from the last exit to the first, fitted on samples that ``reached`` each exit."""
    stage, head = (penalty * cost / costs.full_network for cost in (costs.stage, costs.head))
    found = np.full(samples.exits - 1, -np.inf)
    value = samples.correct[:, -1] - head[-1]
    for k in range(samples.exits - 2, -1, -1):
        going_on = value - stage[k + 1]
        now = samples.correct[:, k]
        rows = samples.order[:, k]
        # If too few samples reach the exit, fit on all samples.
        if reached[k].sum() > DEGREE:
            rows = rows[reached[k][rows]]
        fitted = _smooth(samples.uncertainty[rows, k], (now - going_on)[rows])
        found[k] = _cut(samples, k, rows, fitted, head[k])
        exits = samples.uncertainty[:, k] < found[k]
        value = np.where(exits, now, going_on)
        if found[k] > -np.inf:
            value = value - head[k]
    return found


def _smooth(ordered: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Least squares of ``gain`` on a cubic of the rank of the ``ordered`` uncertainties."""
    if len(gain) <= DEGREE:
        return np.full(len(gain), gain.mean() if len(gain) else 0.0)
    # Tied samples share their mean rank.
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ends = np.append(starts[1:], len(ordered))
    rank = np.repeat((starts + ends) / len(ordered) - 1.0, ends - starts)
    basis = np.polynomial.legendre.legvander(rank, DEGREE)
    # A pseudo-inverse, since few distinct values leave the cubic underdetermined.
    products = np.linalg.pinv(basis.T @ basis, rcond=1e-10, hermitian=True)
    return basis @ (products @ (basis.T @ gain))


def _cut(samples: Samples, exit: int, rows: np.ndarray, fitted: np.ndarray, head: float) -> float:
    """Threshold with the largest sum of fitted gains, if it exceeds the cost of the head.

    If the gain falls with the uncertainty, this is where it becomes negative.
    """
    if not len(rows):
        return -np.inf
    total = np.cumsum(fitted)
    best = int(total.argmax())
    return samples.cut(exit, rows, best + 1) if total[best] > head * len(rows) else -np.inf
