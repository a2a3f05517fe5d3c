"""Accuracy against cost: the policies of each method for a range of budgets.

Policies are chosen on the calibration split (:func:`of_method`, one job per method) and measured on
the test split (:func:`on_test`) in other jobs, so no test sample can influence the choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.targets import Target
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.operating_point import COLUMN, feasible, policy_of, simulate
from early_exit.policy.policy import full_network
from early_exit.records.table import Records
from early_exit.statistics.intervals import wilson_interval

# Targets of methods that give certificates and take no budgets.
DROPS = (0.005, 0.01, 0.02, 0.05)
# The published experiment's headline was for this desired accuracy.
PUBLISHED_DESIRED = 0.80
AS_PUBLISHED, CORRECTED, FULL_NETWORK = "as published", "published, rule corrected", "full network"


def budgets(costs: CostModel, points: int) -> list[Target]:
    """Budgets from the cost of the cheapest policy to that of the full network.

    They are shares of the full network's MACs, or of its milliseconds if costs have no MACs.
    """
    unit_costs = costs.in_unit(costs.unit)
    least = (unit_costs.stage[0] + unit_costs.head[0]) / unit_costs.full_network
    shares = np.geomspace(min(1.0, least * (1 + 1e-6)), 1.0, points)
    return [Target(f"{costs.unit}_share", float(share)) for share in shares]


def policies(
    records: Records,
    costs: CostModel,
    criteria: Sequence[ExitCriterion],
    methods: Sequence[str],
    points: int,
    delta: float,
) -> pd.DataFrame:
    """The policies of all methods by each criterion, which share ``delta``, and the references."""
    found = [
        of_method(records, costs, criterion, method, points, delta / len(criteria))
        for method in methods
        for criterion in criteria
    ]
    return joined([*found, references(records, costs, of_references(criteria))])


def of_method(
    records: Records,
    costs: CostModel,
    criterion: ExitCriterion,
    method: str,
    points: int,
    delta: float,
) -> pd.DataFrame:
    """A method's policies for ``points`` budgets, or for four drops if it gives certificates.

    The columns are those of :func:`early_exit.calibration.calibrate.calibrate`.
    """
    targets = budgets(costs, points) + [Target("drop", drop, delta) for drop in DROPS]
    table = feasible(calibrate(method, records, costs, targets, criterion, costs.unit))
    by_budget = table[table.target_kind == f"{costs.unit}_share"]
    return by_budget if len(by_budget) else table


def of_references(criteria: Sequence[ExitCriterion]) -> ExitCriterion:
    """The criterion of the references: the published entropy, or the first if it is missing."""
    return next((own for own in criteria if own.measure == "entropy"), criteria[0])


def references(records: Records, costs: CostModel, criterion: ExitCriterion) -> pd.DataFrame:
    """References: the published method under both exit rules, and the full network."""
    tables = []
    desired = [Target("accuracy", PUBLISHED_DESIRED)]
    for name, rule in ((AS_PUBLISHED, ExitRule.ABOVE), (CORRECTED, ExitRule.BELOW)):
        published = criterion.under(rule)
        table = calibrate("percentile", records, costs, desired, published, costs.unit)
        tables.append(table.assign(method=name))
    full = simulate(full_network(criterion, records.exits), records, costs).row()
    tables.append(pd.DataFrame([{"method": FULL_NETWORK, **full}]))
    return joined(tables)


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenate tables of policies."""
    return pd.concat(tables, ignore_index=True)


def on_test(
    chosen: pd.DataFrame,
    records: Records,
    costs: CostModel,
    criteria: Sequence[ExitCriterion] = (),
) -> pd.DataFrame:
    """Measure the policies of :func:`policies`, by these ``criteria``, on ``records``.

    Returns
    -------
    pandas.DataFrame
        ``method``, ``target_kind``, ``target``, ``measure``; ``accuracy`` with its 95 % Wilson
        interval (``accuracy_low``, ``accuracy_high``), ``macs`` and ``macs_share`` (of the full
        network), measured on ``records``; ``calibration_accuracy`` and
        ``calibration_macs_share``. If costs have no MACs, ``ms_per_sample``, ``ms_share`` and
        ``calibration_ms_share`` instead.
    """
    unit, full = costs.unit, costs.in_unit(costs.unit).full_network
    column = COLUMN[unit]
    rows = []
    for _, row in chosen.iterrows():
        point = simulate(policy_of(row, criteria), records, costs)
        cost = point.row()[column]
        low, high = wilson_interval(point.correct, point.samples)
        rows.append(
            {
                **row[["method", "target_kind", "target", "measure"]],
                "accuracy": point.accuracy,
                "accuracy_low": low,
                "accuracy_high": high,
                column: cost,
                f"{unit}_share": cost / full,
                "calibration_accuracy": row.accuracy,
                f"calibration_{unit}_share": row[column] / full,
            }
        )
    return pd.DataFrame(rows)
