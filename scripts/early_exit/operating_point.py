"""What a policy gives on recorded samples: accuracy, cost, share leaving at each exit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from early_exit.cost_model import CostModel
from early_exit.policy import ExitRule, Policy
from early_exit.records import GIVEN, Records

# Where a unit's mean cost of a sample stands in a table of operating points.
COLUMN = {"macs": "macs", "ms": "ms_per_sample"}


def known(cost: float) -> float | None:
    """A cost for JSON: ``None`` where there are no prices in its unit."""
    return float(cost) if np.isfinite(cost) else None


@dataclass(frozen=True)
class OperatingPoint:
    """A policy with what it gives.

    Attributes
    ----------
    policy
        The policy.
    samples, correct
        How many samples there are, and how many of them are classified correctly.
    exit_shares
        Shape (K,), the share of samples leaving at each exit; they add up to 1.
    macs, ms
        Mean multiply-accumulates, and predicted milliseconds, of a sample; NaN where there are no
        prices in that unit.
    """

    # What every table of operating points has, thresholds and shares apart.
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
        """The share of samples that are classified correctly."""
        return self.correct / self.samples

    def row(self) -> dict[str, float | int | str]:
        """A row for a table: thresholds, accuracy, costs and shares, a column a number."""
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
        """A threshold as a table must have it to be that very number again.

        Nine digits, which tables have, are enough in single precision alone; the uncertainty that
        records are given is in double.
        """
        return repr(float(threshold)) if self.policy.measure == GIVEN else threshold


def simulate(policy: Policy, records: Records, costs: CostModel) -> OperatingPoint:
    """The operating point of ``policy`` on ``records``, without running the network."""
    taken = policy.exits_taken(records.uncertainty(policy.measure, policy.temperatures))
    right = records.correct[np.arange(len(records)), taken]
    return of_exits_taken(policy, taken, right.sum(), costs)


def of_exits_taken(
    policy: Policy, taken: np.ndarray, correct: int, costs: CostModel
) -> OperatingPoint:
    """The operating point of samples that left at the exits ``taken``, shape (N,), from 0."""
    return of_counts(policy, np.bincount(taken, minlength=policy.exits), correct, costs)


def of_counts(policy: Policy, left: np.ndarray, correct: int, costs: CostModel) -> OperatingPoint:
    """The operating point of which ``left``, shape (K,), samples left at each exit."""
    shares = left / left.sum()
    return OperatingPoint(
        policy,
        int(left.sum()),
        int(correct),
        shares,
        float(shares @ costs.macs(policy)),
        float(costs.predicted_ms(policy, shares)),
    )


def policy_of(row: pd.Series, sees: Policy) -> Policy:
    """The policy in a row of a table of operating points, with the temperatures of ``sees``.

    A threshold that was taken from the records is that very element again: what is in single
    precision there is so here, although the table has nine digits of it.
    """
    numbers = [int(m[1]) for c in row.index if (m := re.fullmatch(r"threshold_(\d+)", c))]
    measure, precision = str(row["measure"]), float if row["measure"] == GIVEN else np.float32
    thresholds = tuple(float(precision(row[f"threshold_{k}"])) for k in sorted(numbers))
    return Policy(measure, ExitRule(row["exit_rule"]), thresholds, sees.temperatures)


def accuracy_where_left(policy: Policy, records: Records) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy among those that leave at each exit (NaN where nobody does), and their number."""
    taken = policy.exits_taken(records.uncertainty(policy.measure, policy.temperatures))
    right = records.correct[np.arange(len(records)), taken]
    left, right = left_and_right(taken, right, policy.exits)
    return _share(right, left), left


def left_and_right(
    taken: np.ndarray, right: np.ndarray, exits: int
) -> tuple[np.ndarray, np.ndarray]:
    """How many samples left at each of the exits, and how many of them were right, shape (K,).

    Parameters
    ----------
    taken, right
        Shape (N,), the exit of each sample, from 0, and whether it was right.
    """
    return np.bincount(taken, minlength=exits), np.bincount(taken[right], minlength=exits)


def _share(right: np.ndarray, left: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return right / left


def per_exit_table(
    policy: Policy, left: np.ndarray, right: np.ndarray, costs: CostModel
) -> pd.DataFrame:
    """What happens at each exit: a row an exit, and a last one overall.

    Parameters
    ----------
    policy, costs
        What the samples left by, and the prices.
    left, right
        Shape (K,), how many samples left at each exit, and how many of them were right.

    Returns
    -------
    pandas.DataFrame
        ``exit``, samples that ``reached`` it and ``left`` there, ``accuracy`` among those that left
        (empty where nobody did), and ``macs`` and ``ms_per_sample`` of one that leaves there. The
        last row, ``overall``, has the accuracy of all samples and their mean costs.
    """
    point = of_counts(policy, left, right.sum(), costs)
    samples = int(left.sum())
    reached = samples - np.concatenate([[0], np.cumsum(left)[:-1]])
    return pd.DataFrame(
        {
            "exit": [*map(str, range(1, policy.exits + 1)), "overall"],
            "reached": [*reached, samples],
            "left": [*left, samples],
            "accuracy": [*_share(right, left), point.accuracy],
            "macs": [*costs.macs(policy), point.macs],
            "ms_per_sample": [*costs.ms(policy), point.ms],
        }
    )
