"""Comparison of methods on resampled splits."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from early_exit.analysis import study
from early_exit.calibration.targets import Target
from early_exit.policy.criterion import ExitCriterion
from helpers import make_costs, make_records


@pytest.mark.parametrize("kind", ["macs_share", "ms_share"])
def test_a_budget_is_missed_in_its_own_unit(kind):
    """The last stage takes nearly all of the time, but not of the MACs."""
    costs = make_costs()
    costs = replace(costs, stage_ms=costs.stage_ms * np.array([1.0, 1.0, 1000.0]))
    records = make_records(samples=400)
    target = Target(kind, 0.5)
    runs = study.compare(records, costs, ExitCriterion(), False, ["uniform"], [target], 200, 20)
    # The policy keeps its budget on the calibration part, so on about half of the other parts.
    assert 0 < runs.missed.mean() < 1
    assert runs.target_kind.eq(kind).all()
    if kind == "macs_share":
        expected = runs.cost > 0.5 * (1 + 1e-9)
        assert runs.missed.tolist() == expected.tolist()


def test_criteria_are_compared_with_the_first_measure_on_the_same_splits():
    records, target = make_records(samples=400), Target("macs_share", 0.5)
    tables = [
        study.compare(
            records, make_costs(), ExitCriterion(measure), False, ["uniform"], [target], 200, 5
        ).assign(measure=measure, scaled=False)
        for measure in ("margin", "gate", "ensemble")
    ]
    found = study.summarise(pd.concat(tables)).set_index("measure")
    assert found.against_first["margin"] == found.against_first_high["margin"] == 0
    for own in tables[1:]:
        differences = own.accuracy.to_numpy() - tables[0].accuracy.to_numpy()
        name = own.measure[0]
        assert found.against_first[name] == pytest.approx(differences.mean())
        assert found.against_first_low[name] == pytest.approx(np.quantile(differences, 0.025))
    # The gate's earlier heads are paid; on the split it was calibrated on, the budget is kept.
    assert (tables[1].calibration_cost < 0.55).all()


def test_without_the_exact_grid_budgets_are_compared_with_the_best_method():
    """With many exits the grid is not exact, and takes long."""
    records = make_records(samples=400)
    targets = [Target("macs_share", 0.5), Target("drop", 0.05)]
    methods = ["uniform", "coordinate"]
    runs = study.compare(records, make_costs(), ExitCriterion(), False, methods, targets, 200, 3)
    found = study.summarise(runs.assign(measure="entropy", scaled=False))
    gaps = found.set_index(["target_kind", "method"]).optimality_gap
    best = runs.groupby(["split", "target_kind"]).calibration_accuracy.max()
    own = runs[runs.method == "uniform"].set_index(["split", "target_kind"]).calibration_accuracy
    expected = (best - own).xs("macs_share", level="target_kind").mean()
    assert gaps["macs_share", "uniform"] == pytest.approx(expected)
    assert gaps["drop"].isna().all()
