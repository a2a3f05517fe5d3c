import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from early_exit.analysis.evaluation import (
    evaluate,
    names_of_classes,
    per_class,
    per_exit,
    points_on_test,
    samples_table,
)
from early_exit.analysis.evaluation import simulated as simulated_by
from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.targets import Target
from early_exit.errors import InputError
from early_exit.io.files import read_table, write_table
from early_exit.policy.agreement import Agreement, compare
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import policy_of
from early_exit.policy.outcomes import Outcomes
from early_exit.policy.policy import Policy, full_network
from early_exit.records.table import from_external
from helpers import PROVENANCE, make_costs, make_records

MEASURED = {"full_network": 2.0, "all_heads": 2.5, "policy": 1.0, "ideal": 0.9}
POLICY = Policy(ExitCriterion(), (0.6, 0.6))


def simulated(records, policy=POLICY) -> Outcomes:
    taken = policy.exits_taken(records.uncertainty)
    rows = np.arange(len(records))
    return Outcomes(records.prediction[rows, taken], taken, records.uncertainty[rows, taken])


def move_to_exit(run, records, sample, exit):
    """Change a run: a sample takes another exit, with that exit's class and uncertainty."""
    run.exit[sample] = exit
    run.prediction[sample] = records.prediction[sample, exit]
    run.uncertainty[sample] = records.uncertainty[sample, exit]


def test_the_simulation_agrees_with_itself():
    records = make_records()
    assert compare(POLICY, records, simulated(records)) == Agreement(60, 0, 0)


def test_a_wrong_exit_or_class_is_different():
    records = make_records()
    run = simulated(records)
    run.exit[3] = (run.exit[3] + 1) % 3
    run.prediction[5] += 1
    found = compare(POLICY, records, run)
    assert found == Agreement(58, 0, 2, 0)
    # Every sample is counted once.
    assert sum(asdict(found).values()) == 60


def test_a_sample_at_the_threshold_is_a_tie():
    records = make_records()
    sample = int(np.flatnonzero(records.uncertainty[:, 0] > 0.3)[0])
    policy = Policy(ExitCriterion(), (float(records.uncertainty[sample, 0]) + 5e-6, 0.0))
    run = simulated(records, policy)
    move_to_exit(run, records, sample, 2)
    assert compare(policy, records, run).ties == 1
    run.prediction[sample] = (run.prediction[sample] + 1) % 4
    assert compare(policy, records, run).different == 1
    far = Policy(ExitCriterion(), (float(records.uncertainty[sample, 0]) + 5e-5, 0.0))
    run = simulated(records, far)
    move_to_exit(run, records, sample, 2)
    assert compare(far, records, run).different == 1


@pytest.mark.parametrize("exit_in_run", [0, 2])
def test_a_threshold_that_a_sample_does_not_reach_makes_no_tie(exit_in_run):
    """In the run or in the simulation, the sample exits before it."""
    records = make_records()
    sample = int(np.flatnonzero(records.uncertainty[:, 0] > 0.3)[0])
    near = float(records.uncertainty[sample, 1])
    first = float(records.uncertainty[sample, 0]) + (0.1 if exit_in_run else -0.1)
    policy = Policy(ExitCriterion(), (first, near))
    run = simulated(records, policy)
    assert (run.exit[sample] > 0) == (exit_in_run == 0)
    move_to_exit(run, records, sample, exit_in_run)
    assert compare(policy, records, run).different == 1


def test_another_number_of_samples_is_an_error():
    records = make_records()
    with pytest.raises(InputError, match="59 samples were run"):
        run = simulated(records)
        compare(POLICY, records, Outcomes(run.prediction[1:], run.exit[1:], run.uncertainty[1:]))


def test_the_results_of_a_run():
    records, costs = make_records(), make_costs()
    run = simulated(records)
    measured = {"full_network": 2.0, "all_heads": 2.5, "policy": 0.5, "ideal": 0.45}
    spread = {"policy": [0.4, 0.6], "speedup": [3.5, 4.5]}
    result = evaluate(POLICY, records, run, Agreement(60, 0, 0), costs, measured, spread)
    selected = result["selected"]
    assert selected["accuracy"] == (run.prediction == records.label).mean()
    assert selected["accuracy_interval"][0] < selected["accuracy"]
    assert selected["speedup"] == 4.0
    assert selected["speedup_quartiles"] == [3.5, 4.5]
    assert selected["ms_per_sample_quartiles"] == [0.4, 0.6]
    assert sum(selected["exit_shares"]) == pytest.approx(1)
    expected = sum(s * c for s, c in zip(selected["exit_shares"], [11e6, 33e6, 66e6], strict=True))
    assert selected["macs"] == pytest.approx(expected)
    assert result["full_network"]["accuracy"] == records.correct[:, -1].mean()
    # The full network runs no head but the last.
    assert result["full_network"]["macs"] == 63e6
    # Stages of 1, 2, 3 ms and heads of a tenth of them.
    assert result["full_network"]["ms_per_sample_all_heads_predicted"] == pytest.approx(6.6)


def test_the_ideal_is_predicted_without_overhead_in_full_batches():
    costs = replace(make_costs(), overhead_ms=np.full((1, 3), 5.0))
    policy = Policy(ExitCriterion(), (0.5, -np.inf))
    # Stages 1, 2, 3 ms and heads .1, .2, .3; the second head does not run.
    expected = 1.1 + 0.4 * 2 + 0.4 * 3.3
    assert costs.ideal_ms(policy.heads_run, np.array([0.6, 0.0, 0.4])) == pytest.approx(expected)


def test_a_target_that_no_policy_meets_has_a_row_with_the_reason():
    records, costs = make_records(), make_costs()
    targets = [Target("macs_share", 0.01), Target("macs_share", 0.9)]
    tables = [
        calibrate(m, records, costs, targets, ExitCriterion()) for m in ("uniform", "coordinate")
    ]
    chosen = policy_of(tables[0].iloc[1])
    points = points_on_test(tables, chosen, records, costs)
    assert len(points) == 5
    unreached = points[points.target == 0.01]
    assert len(unreached) == 2
    why = "no policy takes at most 1 % of MACs: the first exit takes 17.5 % of MACs"
    assert set(unreached.infeasible) == {why}
    numbers = ["accuracy", "accuracy_low", "macs", "threshold_1", "share_1", "calibration_accuracy"]
    assert unreached[numbers].isna().all(axis=None)
    assert not unreached.chosen.any()
    assert points.chosen.sum() == 1
    assert points[points.target != 0.01].accuracy.notna().all()


def test_per_exit():
    records, costs = make_records(), make_costs()
    run = simulated(records)
    table = per_exit(POLICY, records, run, costs).set_index("exit")
    assert table.exited[:3].sum() == table.exited["overall"] == 60
    assert table.reached["2"] == 60 - table.exited["1"]
    first = run.exit == 0
    right = run.prediction == records.label
    assert table.accuracy["1"] == pytest.approx(right[first].mean())
    assert table.accuracy["overall"] == pytest.approx(right.mean())


def test_per_class():
    records = make_records()
    run = simulated(records)
    names = ["a, b", "007", "NA", "d", "empty"]
    table = per_class(records, run, dict(enumerate(names)))
    assert table.class_name.tolist() == names
    assert table.samples.tolist() == [*np.bincount(records.label), 0]
    second = records.label == 1
    assert table.accuracy[1] == pytest.approx((run.prediction[second] == 1).mean())
    assert table.full_network[1] == pytest.approx((records.prediction[second, -1] == 1).mean())
    assert table.mean_exit[1] == pytest.approx(run.exit[second].mean() + 1)
    assert table.loc[4, "accuracy":].isna().all()
    weighted = (table.accuracy * table.samples).sum() / 60
    assert weighted == pytest.approx((run.prediction == records.label).mean())


def test_classes_without_names_are_called_by_number():
    assert names_of_classes(make_records(), None) == {0: "0", 1: "1", 2: "2", 3: "3"}
    assert names_of_classes(make_records(), list("abcd")) == dict(enumerate("abcd"))


def test_external_records_have_one_class():
    correct = np.array([[0, 1], [1, 1], [0, 0]])
    external = from_external(np.arange(3), np.zeros((3, 2)), correct, dict(PROVENANCE))
    table = per_class(
        external,
        simulated_by(full_network(ExitCriterion("external"), 2), external),
        names_of_classes(external, None),
    )
    assert table.class_name.tolist() == ["all samples"]
    assert table.accuracy[0] == pytest.approx(2 / 3)


def test_class_names_are_read_as_they_were_written(tmp_path):
    names = ["a, b", "007", "NA", 'say "x"']
    path = tmp_path / "per_class.csv"
    records = make_records()
    write_table(path, per_class(records, simulated(records), dict(enumerate(names))))
    assert read_table(path, []).class_name.tolist() == names


def test_samples_table():
    records = make_records()
    table = samples_table(records, simulated(records))
    assert len(table) == 60
    assert set(table.exit) <= {1, 2, 3}


def test_calibrated_policies_on_other_samples():
    calibration, test, costs = make_records(seed=1), make_records(seed=2), make_costs()
    targets = [Target("accuracy", share) for share in (0.5, 0.7, 0.9)]
    table = calibrate("percentile", calibration, costs, targets, ExitCriterion())
    chosen = policy_of(table.iloc[1])
    points = points_on_test([table], chosen, test, costs)
    assert points.chosen.tolist().index(True) == 1
    assert points.chosen.sum() == 1
    assert points.method.tolist() == ["percentile"] * 3 + ["full_network"]
    assert (points.accuracy_low < points.accuracy).all()
    assert points.calibration_accuracy[:3].tolist() == table.accuracy.tolist()
    with pytest.raises(
        InputError, match=r"policy\.json: .* none of the calibrated ones; delete it and run again"
    ):
        points_on_test([table], Policy(ExitCriterion(), (9.0, 9.0)), test, costs)


@pytest.mark.parametrize("unknown", ["macs", "ms"])
def test_a_simulation_contains_no_measurements(unknown):
    records, costs = make_records(), make_costs()
    nothing = np.full(3, np.nan)
    change = {
        "macs": {"stage_macs": nothing, "head_macs": nothing},
        "ms": dict.fromkeys(("stage_ms", "head_ms", "overhead_ms"), nothing[None]),
    }
    partial = replace(costs, **change[unknown])
    run = simulated_by(POLICY, records)
    found = evaluate(POLICY, records, run, None, partial, None)
    known = evaluate(POLICY, records, run, Agreement(60, 0, 0), costs, MEASURED)
    assert (found["simulated"], known["simulated"]) == (True, False)
    own, measured = found["selected"], known["selected"]
    assert own["accuracy"] == measured["accuracy"]
    assert own["exit_shares"] == measured["exit_shares"]
    for name in ("ms_per_sample", "ms_per_sample_ideal", "speedup"):
        assert own[name] is None
    if unknown == "macs":
        assert (own["macs"], found["full_network"]["macs"]) == (None, None)
        assert own["speedup_predicted"] == measured["speedup_predicted"]
    else:
        assert own["macs"] == measured["macs"]
        assert own["ms_per_sample_predicted"] is own["speedup_predicted"] is None
    json.dumps(found, allow_nan=False)
