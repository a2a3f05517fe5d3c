"""A policy of thresholds that the user gives: taken as they are, then priced like any other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from early_exit.analysis.selection import THRESHOLDS
from early_exit.errors import InputError
from early_exit.io.thresholds import ALWAYS, NEVER
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import known, simulate
from early_exit.policy.policy import Policy
from early_exit.records.table import Records


def policy_of_thresholds(
    criterion: ExitCriterion, thresholds: Sequence[float | str], where: str = "thresholds"
) -> Policy:
    """The policy with these thresholds.

    Parameters
    ----------
    criterion
        Measure and exit rule that the thresholds are for.
    thresholds
        K-1 numbers in the unit of the measure, ``"never"`` or ``"always"``.
    where
        Name of the setting or argument in messages.

    Raises
    ------
    InputError
        If one is neither a finite number nor one of the words.
    """
    for threshold in thresholds:
        if not _valid(threshold):
            raise InputError(
                f"{where}: {threshold!r} is not a threshold",
                'give finite numbers, "never" or "always"',
            )
    return Policy(criterion, tuple(thresholds))


def check_number(thresholds: Sequence[Any], exits: int, where: str = "thresholds") -> None:
    """Check that there is a threshold for each of ``exits`` exits but the final one.

    Raises
    ------
    InputError
        If there is not.
    """
    if len(thresholds) != exits - 1:
        raise InputError(
            f"{where}: {len(thresholds)} for {exits} exits",
            f"give {exits - 1}, one for each exit but the final one",
        )


def own_choice(policy: Policy, records: Records, costs: CostModel) -> dict[str, Any]:
    """The policy as :func:`early_exit.analysis.selection.choose` describes a chosen one.

    Parameters
    ----------
    policy
        From :func:`policy_of_thresholds`.
    records
        The calibration split, of which nothing was used to find the thresholds.
    """
    point = simulate(policy, records, costs)
    content = policy.to_json()
    return {
        "policy": content,
        "method": THRESHOLDS,
        "target_kind": None,
        "target": None,
        "certificate": None,
        "why": why(point.samples),
        "criterion": {"name": THRESHOLDS, "thresholds": content["thresholds"]},
        "calibration": {
            "accuracy": point.accuracy,
            "macs": known(point.macs),
            "ms_per_sample": known(point.ms),
        },
        "optimism": None,
    }


def why(samples: int) -> str:
    """The reason for the choice, in words."""
    return f"thresholds of the user, taken as they are, on {samples} calibration samples"


def _valid(threshold: Any) -> bool:
    if isinstance(threshold, str):
        return threshold in (NEVER, ALWAYS)
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    return number and math.isfinite(threshold)
