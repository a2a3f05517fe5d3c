"""Sweep of one threshold for all exits: accuracy and cost against the threshold.

Under ``below`` a sample exits at exit k if its smallest uncertainty up to k is below the threshold,
and its smallest before k is not. One binary search for each sample and exit handles all thresholds
at once, and cumulative sums over the grid give every operating point in O(N K log T). The sums are
counts, so several jobs may each sweep a part of a split.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import per_exit_table
from early_exit.policy.policy import uniform
from early_exit.policy.samples import Samples
from early_exit.records.table import Records
from early_exit.records.uncertainty import measures


def threshold_grid(
    measure: str, classes: int, points: int, span: tuple[float, float] | None = None
) -> np.ndarray:
    """``points`` uniform thresholds from 0 to the measure's maximum, ln C for entropy.

    For a measure without a known range they go from the first to the second of ``span``.
    """
    least, largest = span or (0.0, measures.maximum(measure, classes))
    return np.linspace(least, largest, points)


def span_of(pieces: Iterable[Records], criterion: ExitCriterion) -> tuple[float, float]:
    """Least and largest uncertainty at the exits with thresholds, for a measure of any range."""
    spans = []
    for records in pieces:
        early = criterion.uncertainty(records)[:, : max(1, records.exits - 1)]
        spans.append((float(early.min()), float(early.max())))
    least, largest = zip(*spans, strict=True)
    return min(least), max(largest)


@dataclass(frozen=True)
class Counts:
    """Numbers of samples at each exit for T thresholds; counts of parts of a split add up.

    Attributes
    ----------
    exited
        Shape (T, K), int64, samples that exit at each exit.
    right
        Shape (T, K), int64, correct ones among them.
    """

    exited: np.ndarray
    right: np.ndarray

    @classmethod
    def none(cls, thresholds: int, exits: int) -> Counts:
        """Counts of no samples."""
        return cls(*np.zeros((2, thresholds, exits), np.int64))

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.exited + other.exited, self.right + other.right)

    def at(self, thresholds: slice) -> Counts:
        """The counts of some of the thresholds."""
        return Counts(self.exited[thresholds], self.right[thresholds])

    def table(self) -> pd.DataFrame:
        """A row for each threshold: ``exited_1`` .. ``exited_K``, ``right_1`` .. ``right_K``."""
        exits = range(1, self.exited.shape[1] + 1)
        names = [f"{name}_{k}" for name in ("exited", "right") for k in exits]
        return pd.DataFrame(np.hstack([self.exited, self.right]), columns=names)

    @classmethod
    def from_table(cls, table: pd.DataFrame, exits: int) -> Counts:
        """Counts from a table of :meth:`table`."""
        numbers = range(1, exits + 1)
        return cls(
            *(
                table[[f"{name}_{k}" for k in numbers]].to_numpy(np.int64)
                for name in ("exited", "right")
            )
        )

    @property
    def shares(self) -> np.ndarray:
        """Shape (T, K), the shares of samples that exit at each exit."""
        return self.exited / self.exited.sum(axis=1, keepdims=True)

    @property
    def accuracy(self) -> np.ndarray:
        """Shape (T,), the share of samples that are correct."""
        return self.right.sum(axis=1) / self.exited.sum(axis=1)


def count(records: Records, criterion: ExitCriterion, thresholds: np.ndarray) -> Counts:
    """Counts for ``records`` at each uniform threshold; parameters as of :func:`sweep`."""
    samples = Samples.of(records, criterion)
    return counts(samples.uncertainty, samples.correct, criterion.rule.sign * thresholds)


def sweep(
    records: Records, costs: CostModel, criterion: ExitCriterion, thresholds: np.ndarray
) -> pd.DataFrame:
    """Operating points of uniform thresholds.

    Parameters
    ----------
    records, costs
        Records of N samples at K exits, and the costs of K stages and heads.
    criterion
        Measure, exit rule and temperatures.
    thresholds
        Shape (T,), finite, in the unit of the measure.

    Returns
    -------
    pandas.DataFrame
        T rows: ``exit_rule``, ``measure``, ``threshold``, ``accuracy``, ``macs``,
        ``ms_per_sample`` and ``share_1`` .. ``share_K``.
    """
    return operating_points(count(records, criterion, thresholds), costs, criterion, thresholds)


def operating_points(
    found: Counts, costs: CostModel, criterion: ExitCriterion, thresholds: np.ndarray
) -> pd.DataFrame:
    """Table of :func:`sweep`, from counts."""
    shares = found.shares
    exits = shares.shape[1]
    # Thresholds are finite, so samples may exit at any exit.
    every_head = np.ones(exits, bool)
    return pd.DataFrame(
        {
            "exit_rule": criterion.rule.value,
            "measure": criterion.measure,
            "threshold": thresholds,
            "accuracy": found.accuracy,
            "macs": shares @ costs.macs(every_head),
            "ms_per_sample": costs.predicted_ms(every_head, shares),
            **{f"share_{k + 1}": shares[:, k] for k in range(exits)},
        }
    )


def cutoffs(
    found: Counts, costs: CostModel, criterion: ExitCriterion, thresholds: np.ndarray
) -> list[pd.DataFrame]:
    """Tables of samples, accuracy and cost at each exit, one for each uniform threshold."""
    return [
        per_exit_table(uniform(criterion, threshold, len(exited)), exited, right, costs)
        for threshold, exited, right in zip(thresholds, found.exited, found.right, strict=True)
    ]


def curves(
    uncertainty: np.ndarray, correct: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Exit shares (T, K) and accuracy (T,) for T uniform thresholds in turned units.

    Parameters
    ----------
    uncertainty
        Shape (N, K-1), turned, at all exits but the last.
    correct
        Shape (N, K), whether each exit is correct.
    """
    order, grid = _sorted(thresholds)
    samples, exits = correct.shape
    shares, right_sum = np.empty((len(grid), exits)), np.zeros(len(grid), np.int64)
    for k, (exited, right) in enumerate(_each_exit(uncertainty, correct, grid)):
        shares[order, k] = exited / samples
        right_sum[order] += right
    return shares, right_sum / samples


def counts(uncertainty: np.ndarray, correct: np.ndarray, thresholds: np.ndarray) -> Counts:
    """Counts at T uniform thresholds; parameters as of :func:`curves`."""
    order, grid = _sorted(thresholds)
    found = Counts.none(len(grid), correct.shape[1])
    for k, (exited, right) in enumerate(_each_exit(uncertainty, correct, grid)):
        found.exited[order, k] = exited
        found.right[order, k] = right
    return found


def _sorted(thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(thresholds)
    return order, np.asarray(thresholds, np.float64)[order]


def _each_exit(
    uncertainty: np.ndarray, correct: np.ndarray, grid: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each exit, numbers of samples that exit and of correct ones, on an ascending grid."""
    samples, exits = correct.shape
    exited_before = np.zeros(len(grid), np.int64)
    lowest = np.full(samples, np.inf)
    until = np.full(samples, len(grid))
    for k in range(exits):
        # Strict: a sample exits only at thresholds above its lowest uncertainty.
        if k == exits - 1:
            since = np.zeros(samples, np.int64)
        else:
            lowest = np.minimum(lowest, uncertainty[:, k])
            since = np.searchsorted(grid, lowest, side="right")
        exited = _running_count(since, len(grid))
        right = correct[:, k]
        before = _running_count(until[right], len(grid))
        yield exited - exited_before, _running_count(since[right], len(grid)) - before
        exited_before, until = exited, since


def _running_count(first: np.ndarray, length: int) -> np.ndarray:
    """Numbers of elements of ``first`` that are at most 0, 1, .. length-1."""
    return np.cumsum(np.bincount(first, minlength=length + 1)[:length])
