"""One threshold for all exits, swept: accuracy and cost against the threshold.

A sample leaves at exit k under ``below`` if its smallest uncertainty up to k is below the
threshold and its smallest before k is not. So one sorted search a sample and exit places it for all
thresholds at once, and sums over the grid give every operating point: O(N K log T), no loop over
thresholds. What is summed are counts, so a split may be swept in parts, by several jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from early_exit import uncertainty as measures
from early_exit.cost_model import CostModel
from early_exit.operating_point import per_exit_table
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


@dataclass(frozen=True)
class Counts:
    """What samples do at each of T thresholds. Counts of the parts of a split add up to its own.

    Attributes
    ----------
    left
        Shape (T, K), int64, the samples that leave at each exit.
    right
        Shape (T, K), int64, those of them that are right.
    """

    left: np.ndarray
    right: np.ndarray

    @classmethod
    def none(cls, thresholds: int, exits: int) -> Counts:
        """Of no samples."""
        return cls(*np.zeros((2, thresholds, exits), np.int64))

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.left + other.left, self.right + other.right)

    def at(self, thresholds: slice) -> Counts:
        """The counts of some of the thresholds."""
        return Counts(self.left[thresholds], self.right[thresholds])

    def table(self) -> pd.DataFrame:
        """A row a threshold: ``left_1`` .. ``left_K``, ``right_1`` .. ``right_K``."""
        exits = range(1, self.left.shape[1] + 1)
        names = [f"{name}_{k}" for name in ("left", "right") for k in exits]
        return pd.DataFrame(np.hstack([self.left, self.right]), columns=names)

    @classmethod
    def from_table(cls, table: pd.DataFrame, exits: int) -> Counts:
        """Read what :meth:`table` wrote."""
        numbers = range(1, exits + 1)
        return cls(
            *(
                table[[f"{name}_{k}" for k in numbers]].to_numpy(np.int64)
                for name in ("left", "right")
            )
        )

    @property
    def shares(self) -> np.ndarray:
        """Shape (T, K), the shares of samples that leave at each exit."""
        return self.left / self.left.sum(axis=1, keepdims=True)

    @property
    def accuracy(self) -> np.ndarray:
        """Shape (T,), the share of samples that are right."""
        return self.right.sum(axis=1) / self.left.sum(axis=1)


def count(records: Records, sees: Policy, thresholds: np.ndarray) -> Counts:
    """What the samples of ``records`` do under each uniform threshold; see :func:`sweep`."""
    samples = Samples.of(records, sees)
    return counts(samples.uncertainty, samples.correct, sees.rule.sign * thresholds)


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
    return priced(count(records, sees, thresholds), costs, sees, thresholds)


def priced(found: Counts, costs: CostModel, sees: Policy, thresholds: np.ndarray) -> pd.DataFrame:
    """The table of :func:`sweep`, from counts."""
    ordinary = sees.at((0.0,) * (sees.exits - 1))
    shares = found.shares
    return pd.DataFrame(
        {
            "exit_rule": sees.rule.value,
            "threshold": thresholds,
            "accuracy": found.accuracy,
            "macs": shares @ costs.macs(ordinary),
            "ms_per_sample": costs.predicted_ms(ordinary, shares),
            **{f"share_{k + 1}": shares[:, k] for k in range(sees.exits)},
        }
    )


def cutoffs(
    found: Counts, costs: CostModel, sees: Policy, thresholds: np.ndarray
) -> list[pd.DataFrame]:
    """For each uniform threshold, what happens at each exit, from counts."""
    return [
        per_exit_table(sees.at((threshold,) * (sees.exits - 1)), left, right, costs)
        for threshold, left, right in zip(thresholds, found.left, found.right, strict=True)
    ]


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
    order, grid = _sorted(thresholds)
    samples, exits = correct.shape
    shares, right_sum = np.empty((len(grid), exits)), np.zeros(len(grid), np.int64)
    for k, (left, right) in enumerate(_each_exit(uncertainty, correct, grid)):
        shares[order, k] = left / samples
        right_sum[order] += right
    return shares, right_sum / samples


def counts(uncertainty: np.ndarray, correct: np.ndarray, thresholds: np.ndarray) -> Counts:
    """What samples do at each of T uniform thresholds; parameters as of :func:`curves`."""
    order, grid = _sorted(thresholds)
    found = Counts.none(len(grid), correct.shape[1])
    for k, (left, right) in enumerate(_each_exit(uncertainty, correct, grid)):
        found.left[order, k] = left
        found.right[order, k] = right
    return found


def _sorted(thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(thresholds)
    return order, np.asarray(thresholds, np.float64)[order]


def _each_exit(
    uncertainty: np.ndarray, correct: np.ndarray, grid: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """At each exit, how many leave, and how many of them are right, for an ascending grid (T,)."""
    samples, exits = correct.shape
    left_before = np.zeros(len(grid), np.int64)
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
        right = correct[:, k]
        before = _running_count(until[right], len(grid))
        yield left - left_before, _running_count(since[right], len(grid)) - before
        left_before, until = left, since


def _running_count(first: np.ndarray, length: int) -> np.ndarray:
    """How many of ``first`` are at most each of 0 .. length-1."""
    return np.cumsum(np.bincount(first, minlength=length + 1)[:length])
