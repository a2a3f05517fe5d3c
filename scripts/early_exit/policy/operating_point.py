"""Operating points: a policy's accuracy, cost and exit shares on recorded samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.policy import Policy, full_network
from early_exit.records.table import Records
from early_exit.records.uncertainty.measures import EXTERNAL

# Column of a unit's mean cost in tables of operating points.
COLUMN = {"macs": "macs", "ms": "ms_per_sample"}


def known(cost: float) -> float | None:
    """A cost for JSON: ``None`` if it is NaN, not known in its unit."""
    return float(cost) if np.isfinite(cost) else None


@dataclass(frozen=True)
class OperatingPoint:
    """A policy with its accuracy, cost and exit shares.

    Attributes
    ----------
    policy
        The policy.
    samples, correct
        Number of samples, and of those that are classified correctly.
    exit_shares
        Shape (K,), the share of samples that exit at each exit; the sum is 1.
    macs, ms
        Mean multiply-accumulates and predicted milliseconds of a sample; NaN without costs in that
        unit.
    """

    # Columns of every table of operating points, besides thresholds and shares.
    COLUMNS: ClassVar[list[str]] = [
        *("method", "target_kind", "target", "exit_rule", "measure"),
        *("samples", "correct", "accuracy", "macs", "ms_per_sample"),
    ]

    policy: Policy
    samples: int
    correct: int
    exit_shares: np.ndarray
    macs: float
    ms: float

    @property
    def accuracy(self) -> float:
        """Share of samples that are classified correctly."""
        return self.correct / self.samples

    def row(self) -> dict[str, float | int | str]:
        """Row of a table: thresholds, accuracy, costs and shares, a column each."""
        return {
            "exit_rule": self.policy.rule.value,
            "measure": self.policy.measure,
            **{f"threshold_{k}": self._exact(t) for k, t in enumerate(self.policy.thresholds, 1)},
            "samples": self.samples,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "macs": self.macs,
            "ms_per_sample": self.ms,
            **{f"share_{k}": float(s) for k, s in enumerate(self.exit_shares, 1)},
        }

    def _exact(self, threshold: float) -> float | str:
        """A threshold as a table keeps it exactly.

        The nine digits of tables suffice for single precision; external uncertainties are in double
        precision.
        """
        return repr(float(threshold)) if self.policy.measure == EXTERNAL else threshold


def infeasible_row(
    criterion: ExitCriterion, exits: int, samples: int, why: str
) -> dict[str, float | int | str]:
    """As :meth:`OperatingPoint.row` for an infeasible target: empty cells, and the reason."""
    policy, nothing = full_network(criterion, exits), np.full(exits, np.nan)
    row = OperatingPoint(policy, samples, 0, nothing, np.nan, np.nan).row()
    thresholds = {name: np.nan for name in row if name.startswith("threshold_")}
    return row | thresholds | {"correct": np.nan, "accuracy": np.nan, "infeasible": why}


def as_written(points: pd.DataFrame) -> pd.DataFrame:
    """A table of operating points that was read, prepared for writing with exact thresholds."""
    exact = (points.measure == EXTERNAL).all()
    thresholds = [name for name in points if name.startswith("threshold_")] if exact else []
    return points.assign(**{name: points[name].map(repr) for name in thresholds})


def feasible(points: pd.DataFrame) -> pd.DataFrame:
    """Rows of a table of operating points that have a policy."""
    return points[points.infeasible.isna()] if "infeasible" in points else points


def simulate(policy: Policy, records: Records, costs: CostModel) -> OperatingPoint:
    """Operating point of ``policy`` on ``records``, without running the network."""
    taken = policy.exits_taken(policy.criterion.uncertainty(records))
    correct = policy.criterion.correct(records)[np.arange(len(records)), taken]
    return of_exits_taken(policy, taken, correct.sum(), costs)


def of_exits_taken(
    policy: Policy, taken: np.ndarray, correct: int, costs: CostModel
) -> OperatingPoint:
    """Operating point of samples that exited at the exits ``taken``, shape (N,), from 0."""
    return of_counts(policy, np.bincount(taken, minlength=policy.exits), correct, costs)


def of_counts(policy: Policy, exited: np.ndarray, correct: int, costs: CostModel) -> OperatingPoint:
    """Operating point from numbers of samples ``exited`` at each exit, shape (K,)."""
    shares = exited / exited.sum()
    return OperatingPoint(
        policy,
        int(exited.sum()),
        int(correct),
        shares,
        float(shares @ costs.macs(policy.heads_run)),
        float(costs.predicted_ms(policy.heads_run, shares)),
    )


def policy_of(row: pd.Series, criteria: Sequence[ExitCriterion] = ()) -> Policy:
    """Policy in a row of a table of operating points.

    Temperatures and parameters are not in the table: they are those of the one of the ``criteria``
    that has the row's measure.

    A threshold that equals an element of the records equals it again: thresholds of records in
    single precision are rounded to it, since the table has nine digits.
    """
    numbers = [int(m[1]) for c in row.index if (m := re.fullmatch(r"threshold_(\d+)", c))]
    measure, precision = str(row["measure"]), float if row["measure"] == EXTERNAL else np.float32
    thresholds = tuple(float(precision(row[f"threshold_{k}"])) for k in sorted(numbers))
    known = {own.measure: own for own in criteria}
    criterion = known.get(measure, ExitCriterion(measure)).under(ExitRule(row["exit_rule"]))
    return Policy(criterion, thresholds)


def accuracy_per_exit(policy: Policy, records: Records) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy among the samples that exit at each exit (NaN for none), and their number."""
    exited, right = counts_per_exit(policy, records)
    return _share(right, exited), exited


def counts_per_exit(policy: Policy, records: Records) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of samples that exit at each exit, and of correct ones among them, shape (K,)."""
    taken = policy.exits_taken(policy.criterion.uncertainty(records))
    right = policy.criterion.correct(records)[np.arange(len(records)), taken]
    return exited_and_right(taken, right, policy.exits)


def exited_and_right(
    taken: np.ndarray, right: np.ndarray, exits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of samples that exit at each exit, and of correct ones among them, shape (K,).

    Parameters
    ----------
    taken, right
        Shape (N,), the exit of each sample, from 0, and whether it was correct.
    """
    return np.bincount(taken, minlength=exits), np.bincount(taken[right], minlength=exits)


def _share(right: np.ndarray, exited: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return right / exited


def per_exit_table(
    policy: Policy, exited: np.ndarray, right: np.ndarray, costs: CostModel
) -> pd.DataFrame:
    """Table of samples, accuracy and cost, with a row for each exit and one overall.

    Parameters
    ----------
    policy, costs
        The policy by which the samples exited, and the costs.
    exited, right
        Shape (K,), samples that exited at each exit, and correct ones among them.

    Returns
    -------
    pandas.DataFrame
        ``exit``; samples that ``reached`` it and that ``exited`` there; their ``accuracy`` (empty
        for none); and ``macs`` and ``ms_per_sample`` of a sample that exits there. The last row,
        ``overall``, has the accuracy and mean costs of all samples.
    """
    point = of_counts(policy, exited, right.sum(), costs)
    samples = int(exited.sum())
    reached = samples - np.concatenate([[0], np.cumsum(exited)[:-1]])
    return pd.DataFrame(
        {
            "exit": [*map(str, range(1, policy.exits + 1)), "overall"],
            "reached": [*reached, samples],
            "exited": [*exited, samples],
            "accuracy": [*_share(right, exited), point.accuracy],
            "macs": [*costs.macs(policy.heads_run), point.macs],
            "ms_per_sample": [*costs.ms(policy.heads_run), point.ms],
        }
    )
