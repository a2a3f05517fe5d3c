"""Accuracy against cost: what each method finds for every budget, measured on other samples.

The policies are chosen on the calibration split (:func:`policies`) and measured on the test split
(:func:`on_test`), in two jobs, so that what chooses never sees a test sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from early_exit.calibration import calibrate
from early_exit.cost_model import CostModel
from early_exit.operating_point import COLUMN, policy_of, simulate
from early_exit.policy import ExitRule, Policy
from early_exit.records import Records
from early_exit.statistics import wilson_interval
from early_exit.targets import Target

# What a method promises that cannot keep a budget.
DROPS = (0.005, 0.01, 0.02, 0.05)
# The published experiment's headline was for this desired accuracy.
PUBLISHED_DESIRED = 0.80
AS_PUBLISHED, CORRECTED, WHOLE = "as published", "published, rule corrected", "whole network"


def budgets(costs: CostModel, points: int) -> list[Target]:
    """Shares of the whole network's MACs, from the cheapest policy to the whole network.

    Of its milliseconds, where prices are in those alone.
    """
    prices = costs.prices(costs.unit)
    least = (prices.stage[0] + prices.head[0]) / prices.whole
    shares = np.geomspace(min(1.0, least * (1 + 1e-6)), 1.0, points)
    return [Target(f"{costs.unit}_share", float(share)) for share in shares]


def policies(
    records: Records,
    costs: CostModel,
    sees: Policy,
    methods: Sequence[str],
    points: int,
    delta: float,
) -> pd.DataFrame:
    """A row for each method and target: the rows of :func:`early_exit.calibration.calibrate`.

    Methods are asked for ``points`` budgets; those that give certificates for four drops. The
    published way stands beside them, under its own rule and under ``below``, and so does the whole
    network.
    """
    targets = budgets(costs, points) + [Target("drop", drop, delta) for drop in DROPS]
    tables = []
    for method in methods:
        table = calibrate(method, records, costs, targets, sees, costs.unit)
        by_budget = table[table.target_kind == f"{costs.unit}_share"]
        tables.append(by_budget if len(by_budget) else table)
    desired = [Target("accuracy", PUBLISHED_DESIRED)]
    for name, rule in ((AS_PUBLISHED, ExitRule.ABOVE), (CORRECTED, ExitRule.BELOW)):
        published = sees.under(rule)
        table = calibrate("percentile", records, costs, desired, published, costs.unit)
        tables.append(table.assign(method=name))
    whole = simulate(sees.whole, records, costs).row()
    tables.append(pd.DataFrame([{"method": WHOLE, **whole}]))
    return pd.concat(tables, ignore_index=True)


def on_test(chosen: pd.DataFrame, sees: Policy, records: Records, costs: CostModel) -> pd.DataFrame:
    """What the policies of :func:`policies` give on ``records``.

    Returns
    -------
    pandas.DataFrame
        ``method``, ``target_kind``, ``target``; ``accuracy`` with its 95 % Wilson interval
        (``accuracy_low``, ``accuracy_high``), ``macs`` and ``macs_share`` (of the whole network),
        measured on ``records``; ``calibration_accuracy`` and ``calibration_macs_share``. Where
        prices are in milliseconds alone, ``ms_per_sample``, ``ms_share`` and
        ``calibration_ms_share`` instead.
    """
    unit, whole = costs.unit, costs.prices(costs.unit).whole
    column = COLUMN[unit]
    rows = []
    for _, row in chosen.iterrows():
        point = simulate(policy_of(row, sees), records, costs)
        cost = point.row()[column]
        low, high = wilson_interval(point.correct, point.samples)
        rows.append(
            {
                **row[["method", "target_kind", "target"]],
                "accuracy": point.accuracy,
                "accuracy_low": low,
                "accuracy_high": high,
                column: cost,
                f"{unit}_share": cost / whole,
                "calibration_accuracy": row.accuracy,
                f"calibration_{unit}_share": row[column] / whole,
            }
        )
    return pd.DataFrame(rows)
