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
from early_exit.policy import Policy
from early_exit.records import Records
from early_exit.samples import Samples


def threshold_grid(
    measure: str, classes: int, points: int, span: tuple[float, float] | None = None
) -> np.ndarray:
    """``points`` uniform thresholds from 0 to the measure's maximum, ln C for entropy.

    Of a measure whose range is not known, from the first to the second of ``span``.
    """
    least, largest = span or (0.0, measures.maximum(measure, classes))
    return np.linspace(least, largest, points)


def sweep(records: Records, costs: CostModel, sees: Policy, thresholds: np.ndarray) -> pd.DataFrame:
    """The operating point of each uniform threshold.

    Parameters
    ----------
    records, costs
        K exits' records of N samples, and the prices of K stages and heads.
    sees
        The policy whose measure, rule and temperatures are used; its thresholds are not.
    thresholds
        Shape (T,), finite, in the unit of the measure.

    Returns
    -------
    pandas.DataFrame
        T rows: ``exit_rule``, ``threshold``, ``accuracy``, ``macs``, ``ms_per_sample`` and
        ``share_1`` .. ``share_K``.
    """
    samples = Samples.of(records, sees)
    turned = sees.rule.sign * thresholds
    shares, accuracy = curves(samples.uncertainty, samples.correct, turned)
    priced = sees.at((0.0,) * (sees.exits - 1))
    return pd.DataFrame(
        {
            "exit_rule": sees.rule.value,
            "threshold": thresholds,
            "accuracy": accuracy,
            "macs": shares @ costs.macs(priced),
            "ms_per_sample": costs.predicted_ms(priced, shares),
            **{f"share_{k + 1}": shares[:, k] for k in range(records.exits)},
        }
    )


def curves(
    uncertainty: np.ndarray, correct: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shares leaving (T, K) and accuracy (T,) for each of T uniform thresholds, lower leaving.

    Parameters
    ----------
    uncertainty
        Shape (N, K-1), of all exits but the last.
    correct
        Shape (N, K), whether each exit is right.
    """
    order = np.argsort(thresholds)
    grid = np.asarray(thresholds, np.float64)[order]
    samples, exits = correct.shape
    left_before = np.zeros(len(grid))
    right_sum = np.zeros(len(grid))
    shares = np.empty((len(grid), exits))
    lowest = np.full(samples, np.inf)
    until = np.full(samples, len(grid))
    for k in range(exits):
        # Strict: a sample leaves at the thresholds above its lowest uncertainty, not at it.
        if k == exits - 1:
            since = np.zeros(samples, np.int64)
        else:
            lowest = np.minimum(lowest, uncertainty[:, k])
            since = np.searchsorted(grid, lowest, side="right")
        left = _running_count(since, len(grid))
        shares[:, k] = (left - left_before) / samples
        left_before = left
        right = correct[:, k]
        right_sum += _running_count(since[right], len(grid))
        right_sum -= _running_count(until[right], len(grid))
        until = since
    restore = np.argsort(order)
    return shares[restore], (right_sum / samples)[restore]


def _running_count(first: np.ndarray, length: int) -> np.ndarray:
    """How many of ``first`` are at most each of 0 .. length-1."""
    return np.cumsum(np.bincount(first, minlength=length + 1)[:length]).astype(np.float64)
