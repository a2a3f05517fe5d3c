"""Finding thresholds on the calibration split. One module for each method, one signature.

A method is a module with a function ``thresholds(records, costs, target, measure, rule)``:

records, costs
    The calibration split's records of K exits, and the prices of stages and heads.
target
    What is asked for, an accuracy between 0 and 1.
measure, rule
    What is compared with a threshold, and which side leaves.

It returns K-1 floats, infinite where nobody or everybody leaves. Adding a method means one new
module here and its name in ``rules/config.schema.yaml``.
"""

from __future__ import annotations

from importlib import import_module

import pandas as pd

from early_exit.cost_model import CostModel
from early_exit.operating_point import OperatingPoint, simulate
from early_exit.policy import ExitRule, Policy
from early_exit.records import Records


def calibrate(
    method: str,
    records: Records,
    costs: CostModel,
    targets: list[float],
    measure: str,
    rule: ExitRule,
) -> pd.DataFrame:
    """A method's operating point on ``records`` for each target, a row each.

    The columns are ``method``, ``target`` and those of
    :meth:`early_exit.operating_point.OperatingPoint.row`.
    """
    points = [
        (target, calibrated_point(method, records, costs, target, measure, rule))
        for target in targets
    ]
    return pd.DataFrame(
        [{"method": method, "target": target, **point.row()} for target, point in points]
    )


def calibrated_point(
    method: str,
    records: Records,
    costs: CostModel,
    target: float,
    measure: str,
    rule: ExitRule,
) -> OperatingPoint:
    """The operating point on ``records`` of the policy that ``method`` finds there."""
    find = import_module(f"{__name__}.{method}").thresholds
    policy = Policy(measure, rule, tuple(find(records, costs, target, measure, rule)))
    return simulate(policy, records, costs)
