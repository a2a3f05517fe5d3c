"""Of policies by several measures, those by the measure that is best on calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd

from early_exit.calibration.targets import QUALITIES
from early_exit.policy.operating_point import feasible


def best_measures(points: pd.DataFrame, cost: str) -> pd.DataFrame:
    """Of each method and target the policy that is best on calibration.

    For an accuracy or a drop that is the cheapest, for a budget the most accurate. Targets that no
    policy meets are left out, and rows keep their order. A policy that is ``chosen``, if the table
    says so, is always kept.

    Parameters
    ----------
    points
        Rows with ``method``, ``target_kind``, ``target`` and ``calibration_accuracy``.
    cost
        Column of the cost on calibration.
    """
    known = feasible(points)
    quality = known.target_kind.isin(QUALITIES)
    rank = known[cost].where(quality, -known.calibration_accuracy)
    if "chosen" in known:
        rank = rank.where(~known.chosen, -np.inf)
    order = known.assign(rank=rank).sort_values("rank", kind="stable")
    best = order.drop_duplicates(["method", "target_kind", "target"]).index
    return known.loc[best.sort_values()]
