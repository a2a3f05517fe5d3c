import json
from dataclasses import replace

import numpy as np
import pytest

from early_exit.calibration import calibrate
from early_exit.errors import InputError
from early_exit.evaluation import (
    Agreement,
    check,
    compare,
    doubtful_times,
    evaluate,
    names_of_classes,
    per_class,
    per_exit,
    points_on_test,
    samples_table,
)
from early_exit.evaluation import simulated as simulated_by
from early_exit.files import read_table, write_table
from early_exit.operating_point import policy_of
from early_exit.outcomes import Outcomes
from early_exit.policy import ExitRule, Policy, whole_network
from early_exit.records import from_given
from early_exit.targets import Target
from helpers import IDENTITY, make_costs, make_records, sees

MEASURED = {"static": 2.0, "all_heads": 2.5, "policy": 1.0, "ideal": 0.9}
POLICY = Policy("entropy", ExitRule.BELOW, (0.6, 0.6))


def simulated(records, policy=POLICY) -> Outcomes:
    taken = policy.exits_taken(records.entropy)
    rows = np.arange(len(records))
    return Outcomes(records.prediction[rows, taken], taken, records.entropy[rows, taken])


def test_the_simulation_agrees_with_itself():
    records = make_records()
    assert compare(POLICY, records, simulated(records)) == Agreement(60, 0, 0)


def test_a_wrong_exit_or_class_is_different():
    records = make_records()
    run = simulated(records)
    run.exit[3] = (run.exit[3] + 1) % 3
    run.prediction[5] += 1
    agreement = compare(POLICY, records, run)
    assert agreement == Agreement(58, 0, 2)
    with pytest.raises(InputError, match=r"test\.parquet: 2 samples"):
        check(agreement, "test.parquet")


def test_a_sample_at_the_threshold_is_a_tie():
    records = make_records()
    sample = int(np.flatnonzero(records.entropy[:, 0] > 0.3)[0])
    policy = Policy("entropy", ExitRule.BELOW, (float(records.entropy[sample, 0]) + 5e-6, 0.0))
    run = simulated(records, policy)
    run.exit[sample] = 2
    assert compare(policy, records, run).ties == 1
    far = Policy("entropy", ExitRule.BELOW, (float(records.entropy[sample, 0]) + 5e-5, 0.0))
    run = simulated(records, far)
    run.exit[sample] = 2
    assert compare(far, records, run).different == 1


@pytest.mark.parametrize("run_leaves", [0, 2])
def test_a_threshold_that_a_sample_does_not_come_to_makes_no_tie(run_leaves):
    """Neither in the run nor in the simulation: one of the two lets it go before."""
    records = make_records()
    sample = int(np.flatnonzero(records.entropy[:, 0] > 0.3)[0])
    near = float(records.entropy[sample, 1])
    first = float(records.entropy[sample, 0]) + (0.1 if run_leaves else -0.1)
    policy = Policy("entropy", ExitRule.BELOW, (first, near))
    run = simulated(records, policy)
    assert (run.exit[sample] > 0) == (run_leaves == 0)
    run.exit[sample] = run_leaves
    assert compare(policy, records, run).different == 1


def test_another_number_of_samples_is_refused():
    records = make_records()
    with pytest.raises(InputError, match="59 samples run"):
        run = simulated(records)
        compare(POLICY, records, Outcomes(run.prediction[1:], run.exit[1:], run.uncertainty[1:]))


def test_what_a_run_gave():
    records, costs = make_records(), make_costs()
    run = simulated(records)
    measured = {"static": 2.0, "all_heads": 2.5, "policy": 0.5, "ideal": 0.45}
    result = evaluate(POLICY, records, run, Agreement(60, 0, 0), costs, measured)
    selected = result["selected"]
    assert selected["accuracy"] == (run.prediction == records.label).mean()
    assert selected["accuracy_interval"][0] < selected["accuracy"]
    assert selected["speedup"] == 4.0
    assert sum(selected["exit_shares"]) == pytest.approx(1)
    expected = sum(s * c for s, c in zip(selected["exit_shares"], [11e6, 33e6, 66e6], strict=True))
    assert selected["macs"] == pytest.approx(expected)
    assert result["static"]["accuracy"] == records.correct[:, -1].mean()
    # The whole network runs no head but the last.
    assert result["static"]["macs"] == 63e6


@pytest.mark.parametrize(("ms", "doubtful"), [(1.0, False), (1.4, False), (1.6, True), (0.6, True)])
def test_a_time_far_from_its_prediction_is_doubtful(ms, doubtful):
    result = {"selected": {"ms_per_sample": ms, "ms_per_sample_predicted": 1.0}}
    assert bool(doubtful_times(result)) is doubtful


def test_exit_by_exit():
    records, costs = make_records(), make_costs()
    run = simulated(records)
    table = per_exit(POLICY, records, run, costs).set_index("exit")
    assert table.left[:3].sum() == table.left["overall"] == 60
    assert table.reached["2"] == 60 - table.left["1"]
    first = run.exit == 0
    right = run.prediction == records.label
    assert table.accuracy["1"] == pytest.approx(right[first].mean())
    assert table.accuracy["overall"] == pytest.approx(right.mean())


def test_class_by_class():
    records = make_records()
    run = simulated(records)
    names = ["a, b", "007", "NA", "d", "nobody"]
    table = per_class(records, run, dict(enumerate(names)))
    assert table.class_name.tolist() == names
    assert table.samples.tolist() == [*np.bincount(records.label), 0]
    second = records.label == 1
    assert table.accuracy[1] == pytest.approx((run.prediction[second] == 1).mean())
    assert table.whole_network[1] == pytest.approx((records.prediction[second, -1] == 1).mean())
    assert table.mean_exit[1] == pytest.approx(run.exit[second].mean() + 1)
    assert table.loc[4, "accuracy":].isna().all()
    weighed = (table.accuracy * table.samples).sum() / 60
    assert weighed == pytest.approx((run.prediction == records.label).mean())


def test_classes_without_names_have_their_numbers():
    assert names_of_classes(make_records(), None) == {0: "0", 1: "1", 2: "2", 3: "3"}
    assert names_of_classes(make_records(), list("abcd")) == dict(enumerate("abcd"))


def test_where_only_right_and_wrong_are_known_no_classes_are_told_apart():
    correct = np.array([[0, 1], [1, 1], [0, 0]])
    given = from_given(np.arange(3), np.zeros((3, 2)), correct, dict(IDENTITY))
    table = per_class(
        given,
        simulated_by(whole_network("given", ExitRule.BELOW, 2), given),
        names_of_classes(given, None),
    )
    assert table.class_name.tolist() == ["all samples"]
    assert table.accuracy[0] == pytest.approx(2 / 3)


def test_class_names_are_read_as_they_were_written(tmp_path):
    names = ["a, b", "007", "NA", 'say "x"']
    path = tmp_path / "per_class.csv"
    records = make_records()
    write_table(path, per_class(records, simulated(records), dict(enumerate(names))))
    assert read_table(path, []).class_name.tolist() == names


def test_a_row_a_sample():
    records = make_records()
    table = samples_table(records, simulated(records))
    assert len(table) == 60
    assert set(table.exit) <= {1, 2, 3}


def test_calibrated_policies_on_other_samples():
    calibration, test, costs = make_records(seed=1), make_records(seed=2), make_costs()
    targets = [Target("accuracy", share) for share in (0.5, 0.7, 0.9)]
    table = calibrate("percentile", calibration, costs, targets, sees())
    chosen = policy_of(table.iloc[1], sees())
    points = points_on_test([table], chosen, test, costs)
    assert points.chosen.tolist().index(True) == 1
    assert points.chosen.sum() == 1
    assert points.method.tolist() == ["percentile"] * 3 + ["whole_network"]
    assert (points.accuracy_low < points.accuracy).all()
    assert points.calibration_accuracy[:3].tolist() == table.accuracy.tolist()
    with pytest.raises(InputError, match="none of the calibrated ones"):
        points_on_test([table], Policy("entropy", ExitRule.BELOW, (9.0, 9.0)), test, costs)


@pytest.mark.parametrize("unknown", ["macs", "ms"])
def test_what_is_simulated_claims_no_measurement(unknown):
    records, costs = make_records(), make_costs()
    nothing = np.full(3, np.nan)
    change = {
        "macs": {"stage_macs": nothing, "head_macs": nothing},
        "ms": dict.fromkeys(("stage_ms", "head_ms", "overhead_ms"), nothing[None]),
    }
    priced = replace(costs, **change[unknown])
    run = simulated_by(POLICY, records)
    found = evaluate(POLICY, records, run, None, priced, None)
    known = evaluate(POLICY, records, run, Agreement(60, 0, 0), costs, MEASURED)
    assert (found["simulated"], known["simulated"]) == (True, False)
    own, measured = found["selected"], known["selected"]
    assert own["accuracy"] == measured["accuracy"]
    assert own["exit_shares"] == measured["exit_shares"]
    for name in ("ms_per_sample", "ms_per_sample_ideal", "speedup"):
        assert own[name] is None
    if unknown == "macs":
        assert (own["macs"], found["static"]["macs"]) == (None, None)
        assert own["speedup_predicted"] == measured["speedup_predicted"]
    else:
        assert own["macs"] == measured["macs"]
        assert own["ms_per_sample_predicted"] is own["speedup_predicted"] is None
    json.dumps(found, allow_nan=False)
