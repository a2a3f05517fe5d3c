"""Policies that the page offers: calibrated ones, each once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from early_exit.analysis.selection import FULL_NETWORK
from early_exit.calibration.targets import label
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import feasible, policy_of
from early_exit.policy.policy import Policy


def offered(
    tables: Sequence[pd.DataFrame],
    criteria: Sequence[ExitCriterion],
    chosen: Policy | None,
    chosen_name: str = "chosen policy",
) -> list[dict[str, Any]]:
    """Policies with one of the criteria, equal ones once, for the page.

    Parameters
    ----------
    tables
        Tables of calibrated policies.
    chosen
        The chosen policy, which is first; ``None`` if there is none.

    Returns
    -------
    list of dict
        ``name``, ``measure`` (position in the criteria), ``thresholds`` (numbers and words) and
        whether it is ``chosen``.
    """
    found: dict[Policy, str] = {} if chosen is None else {chosen: chosen_name}
    for table in tables:
        for _, row in feasible(table).iterrows():
            if row["method"] == FULL_NETWORK:
                continue
            policy = policy_of(row, criteria)
            if policy.criterion in criteria:
                found.setdefault(policy, _name(row))
    return [
        {
            "name": name,
            "measure": list(criteria).index(policy.criterion),
            "thresholds": policy.to_json()["thresholds"],
            "chosen": policy == chosen,
        }
        for policy, name in found.items()
    ]


def _name(row: pd.Series) -> str:
    if not isinstance(row.get("target_kind"), str):
        return str(row["method"])
    kind = "accuracy " if row.target_kind == "accuracy" else ""
    target = float(f"{row.target:.4g}")
    return f"{row['method']}, {kind}{label(row.target_kind, target)}"
