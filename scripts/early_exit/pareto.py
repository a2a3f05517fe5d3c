"""Which policies no other one beats in both accuracy and cost."""

from __future__ import annotations

import numpy as np


def front(correct: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The Pareto front, as places of the given policies, from cheap to dear.

    Parameters
    ----------
    correct, cost
        Shape (P,): more right is better, less cost is better.

    Returns
    -------
    numpy.ndarray
        Places at which both ascend strictly. Of policies that give the same, one is kept.
    """
    order = np.argsort(cost, kind="stable")
    best = np.maximum.accumulate(correct[order])
    rises = np.flatnonzero(np.concatenate([[True], best[1:] > best[:-1]]))
    places = order[rises]
    # Of equal costs only the most accurate stays: it is the last of its kind among the rises.
    ends = np.concatenate([cost[places][1:] > cost[places][:-1], [True]])
    return places[ends]
