"""Pareto front of policies in accuracy and cost."""

from __future__ import annotations

import numpy as np


def front(correct: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Indices of the Pareto front, strictly increasing in both accuracy and cost.

    Parameters
    ----------
    correct, cost
        Shape (P,); higher ``correct`` and lower ``cost`` are better.

    Returns
    -------
    numpy.ndarray
        Indices of policies, from cheapest to most expensive; one of several equal policies.
    """
    order = np.argsort(cost, kind="stable")
    best = np.maximum.accumulate(correct[order])
    rises = np.flatnonzero(np.concatenate([[True], best[1:] > best[:-1]]))
    indices = order[rises]
    # Of equal costs keep the most accurate, the last one among the rises.
    last = np.concatenate([cost[indices][1:] > cost[indices][:-1], [True]])
    return indices[last]
