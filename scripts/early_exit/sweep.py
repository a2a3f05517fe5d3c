"""One threshold for all exits, swept: accuracy and cost against the threshold.

A sample leaves at exit k under ``below`` if its smallest uncertainty up to k is below the
threshold and its smallest before k is not. So one sorted search a sample and exit places it for all
thresholds at once, and sums over the grid give every operating point: O(N K log T), no loop over
thresholds.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from early_exit import uncertainty as measures
from early_exit.cost_model import CostModel
from early_exit.policy import ExitRule, uniform
from early_exit.records import Records


def threshold_grid(measure: str, classes: int, points: int) -> np.ndarray:
    """``points`` uniform thresholds from 0 to the measure's maximum, ln C for entropy."""
    return np.linspace(0.0, measures.maximum(measure, classes), points)


def sweep(
    records: Records, costs: CostModel, measure: str, rule: ExitRule, thresholds: np.ndarray
) -> pd.DataFrame:
    """The operating point of each uniform threshold.

    Parameters
    ----------
    records, costs
        K exits' records of N samples, and the prices of K stages and heads.
    measure, rule
        What is compared with the threshold, and which side leaves.
    thresholds
        Shape (T,), finite, in the unit of the measure.

    Returns
    -------
    pandas.DataFrame
        T rows: ``exit_rule``, ``threshold``, ``accuracy``, ``macs``, ``ms_per_sample`` and
        ``share_1`` .. ``share_K``.
    """
    shares, accuracy = curves(records.uncertainty(measure), records.correct, rule, thresholds)
    priced = uniform(measure, rule, 0.0, records.exits)
    return pd.DataFrame(
        {
            "exit_rule": rule.value,
            "threshold": thresholds,
            "accuracy": accuracy,
            "macs": shares @ costs.macs(priced),
            "ms_per_sample": costs.predicted_ms(priced, shares),
            **{f"share_{k + 1}": shares[:, k] for k in range(records.exits)},
        }
    )


def curves(
    uncertainty: np.ndarray, correct: np.ndarray, rule: ExitRule, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shares leaving (T, K) and accuracy (T,) for each of T uniform thresholds.

    Parameters
    ----------
    uncertainty, correct
        Shape (N, K), and whether each exit is right.
    """
    order = np.argsort(rule.sign * thresholds)
    grid = rule.sign * np.asarray(thresholds, np.float64)[order]
    samples, exits = uncertainty.shape
    left_before = np.zeros(len(grid))
    right_sum = np.zeros(len(grid))
    shares = np.empty((len(grid), exits))
    lowest = np.full(samples, np.inf)
    for k in range(exits):
        before, lowest = lowest, np.minimum(lowest, rule.sign * uncertainty[:, k])
        if k == exits - 1:
            lowest = np.full(samples, -np.inf)
        # Strict: a sample leaves at the thresholds above its lowest uncertainty, not at it.
        since = np.searchsorted(grid, lowest, side="right")
        until = np.searchsorted(grid, before, side="right")
        left = _running_count(since, len(grid))
        shares[:, k] = (left - left_before) / samples
        left_before = left
        right = correct[:, k]
        right_sum += _running_count(since[right], len(grid))
        right_sum -= _running_count(until[right], len(grid))
    restore = np.argsort(order)
    return shares[restore], (right_sum / samples)[restore]


def _running_count(first: np.ndarray, length: int) -> np.ndarray:
    """How many of ``first`` are at most each of 0 .. length-1."""
    return np.cumsum(np.bincount(first, minlength=length + 1)[:length]).astype(np.float64)
