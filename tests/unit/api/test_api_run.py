"""Runs from arrays and from a folder give the numbers of the library's own functions."""

import json

import numpy as np
import pytest

import early_exit as ee
from api_runs import THRESHOLDS, sample, write_run
from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.targets import Target
from early_exit.io.files import write_json
from early_exit.policy.operating_point import simulate
from early_exit.records.uncertainty import entropy
from early_exit.statistics.intervals import wilson_interval

LOGITS, LABELS = sample(300, seed=1)
CORRECT = LOGITS.argmax(axis=2) == LABELS[:, None]


def by_hand(thresholds, macs=(2e6, 6e6, 15e6)):
    """Accuracy, mean MACs and exit shares of a policy on the test logits, in plain numpy."""
    unsure = entropy.uncertainty(LOGITS.astype(np.float32).astype(np.float64))
    exits = np.where(unsure[:, 0] < thresholds[0], 0, np.where(unsure[:, 1] < thresholds[1], 1, 2))
    shares = np.bincount(exits, minlength=3) / len(exits)
    return CORRECT[np.arange(len(exits)), exits].mean(), shares @ macs, shares


def test_a_simulation_matches_plain_numpy(run):
    run = run.using(measure="entropy")
    found = run.simulate(run.make_policy([0.6, 0.4]), "test")
    accuracy, macs, shares = by_hand([0.6, 0.4])
    assert found.accuracy == pytest.approx(accuracy)
    assert found.macs == pytest.approx(macs)
    assert found.exit_shares.tolist() == pytest.approx(shares.tolist())
    assert found.interval == wilson_interval(round(accuracy * 300), 300)
    assert found.full.accuracy == pytest.approx(CORRECT[:, -1].mean())
    assert np.isnan(found.ms)
    overall = found.table.iloc[-1]
    assert (overall.accuracy, overall.macs) == pytest.approx((accuracy, macs))
    assert found.table["exited"].tolist() == [*(300 * shares).round().astype(int), 300]


@pytest.mark.parametrize("method", ["coordinate", "uniform", "percentile", "certified_path"])
def test_calibrate_matches_the_library(run, method):
    run = run.using(measure="margin")
    policy = run.calibrate(method, drop=0.03)
    records, costs = run._records("calibration"), run._source.costs
    row = calibrate(method, records, costs, [Target("drop", 0.03)], run._criterion).iloc[0]
    point = simulate(policy, records, costs)
    assert (point.accuracy, point.macs) == pytest.approx((row.accuracy, row.macs))
    assert point.accuracy >= simulate(run.make_policy("never"), records, costs).accuracy - 0.03
    assert (policy.method, policy.target.kind, policy.target.value) == (method, "drop", 0.03)
    assert (policy.certificate is not None) == (method == "certified_path")


@pytest.mark.parametrize("target", [{"drop": 0.03}, {"accuracy": 0.9}, {"macs": 4e6}])
def test_of_several_measures_the_best_on_calibration_is_taken(run, target):
    assert run.measures == ("margin", "max_probability", "entropy")
    points = {
        measure: run.simulate(run.using(measure=measure).calibrate(**target), "calibration")
        for measure in run.measures
    }
    best = max(points, key=lambda m: points[m].accuracy if "macs" in target else -points[m].macs)
    policy = run.calibrate(**target)
    found = run.simulate(policy, "calibration")
    assert (found.accuracy, found.macs) == (points[best].accuracy, points[best].macs)
    others = [own for own in points.values() if own.macs != found.macs]
    assert others, "the measures differ"
    assert (
        run.simulate(policy, "test").accuracy
        == run.using(measure=policy.measure).simulate(policy, "test").accuracy
    )


def test_measures_share_delta(run):
    several, one = run.calibrate("certified_path", drop=0.05), run.using(measure="margin")
    assert several.certificate["delta"] == 0.1
    thirds = one.calibrate("certified_path", drop=0.05, delta=0.1 / 3)
    if several.measure == "margin":
        assert several.thresholds == thirds.thresholds
    own = run.simulate(several, "calibration").macs
    assert own <= run.simulate(thirds, "calibration").macs


def test_budgets_are_kept_on_calibration(run):
    for budget in ({"macs": 5e6}, {"macs_share": 1 / 3}):
        found = run.simulate(run.calibrate(**budget), "calibration")
        assert 0 < found.macs <= 5e6 * (1 + 1e-9)


def test_an_error_is_an_accuracy(run):
    assert run.calibrate(error=0.05) == run.calibrate(accuracy=0.95)


def test_costs_may_be_times():
    run = ee.from_logits(*sample(200, 0), ms=[1.0, 3.0, 7.0])
    assert run.simulate(run.calibrate(ms=4.0)).ms <= 4.0 * (1 + 1e-9)
    assert run.simulate(run.make_policy("always")).ms == pytest.approx(1.0)
    assert run.costs.ms.tolist() == pytest.approx([1, 3, 7])
    with pytest.raises(ee.InputError, match="needs costs in macs"):
        run.calibrate(macs=2e6)


def test_an_exit_that_is_switched_off_saves_its_head():
    own = {"macs": [3e6, 8e6, 15e6], "head_macs": [1e6, 1e6, 1e6]}
    run = ee.from_logits(*sample(200, 0), **own)
    assert run.simulate(run.make_policy("never")).macs == pytest.approx(13e6)
    assert run.simulate(run.make_policy("always")).macs == pytest.approx(3e6)
    assert run.costs.head_macs.tolist() == [1e6] * 3


def test_relative_costs_are_not_called_macs():
    run = ee.from_logits(*sample(200, 0), relative=[0.2, 0.5, 1.0])
    assert "cost 0.2 of 1" in repr(run.simulate(run.make_policy("always")))


def test_a_sweep_matches_the_simulation_of_each_threshold(run):
    run = run.using(measure="entropy")
    table = run.sweep("test", points=7).table
    for row in table.itertuples():
        found = run.simulate(run.make_policy(row.threshold), "test")
        assert (row.accuracy, row.macs) == pytest.approx((found.accuracy, found.macs))
        assert [row.share_1, row.share_2, row.share_3] == pytest.approx(found.exit_shares.tolist())
    assert table.threshold.iloc[-1] == pytest.approx(np.log(4))


def test_exit_accuracy(run):
    table = run.exit_accuracy("test").table
    assert table.accuracy.tolist() == pytest.approx(CORRECT.mean(axis=0).tolist())
    assert (table.accuracy_low < table.accuracy).all()
    assert table.macs.tolist() == [2e6, 6e6, 15e6]


def test_a_frontier_measures_calibrated_policies_on_test(run):
    found = run.frontier(["uniform"], points=4)
    rows = found.table[found.table.method == "uniform"]
    assert len(rows) == 4 * len(run.measures)
    for row in rows.itertuples():
        policy = run.using(measure=row.measure).calibrate("uniform", macs_share=row.target)
        assert row.accuracy == pytest.approx(run.simulate(policy, "test").accuracy)


def test_records_are_a_table(run):
    table = run.records("test")
    assert table.label.tolist() == LABELS.tolist()
    assert table.prediction_2.tolist() == LOGITS[:, 1].argmax(axis=1).tolist()
    assert table.correct_3.tolist() == CORRECT[:, 2].tolist()
    assert {"margin_1", "max_probability_1", "entropy_1"} <= {*table}
    unsure = entropy.uncertainty(LOGITS.astype(np.float64))
    assert table.entropy_1.to_numpy() == pytest.approx(unsure[:, 0], abs=1e-5)


def test_using_another_criterion(run):
    other = run.using(measure="margin", exit_rule="above", temperatures=True)
    assert (other.measure, other.exit_rule, len(other.temperatures)) == ("margin", "above", 3)
    assert (run.measure, run.temperatures) == ("margin", None)
    assert run.using(measure=["entropy", "margin"]).measures == ("entropy", "margin")
    with pytest.raises(ee.InputError, match="measure: an empty list; give one or more of margin"):
        run.using(measure=[])
    assert other.using(temperatures=False).temperatures is None
    assert other.using(temperatures=[1, 2, 3]).temperatures == (1.0, 2.0, 3.0)
    policy = other.calibrate("uniform", accuracy=0.6)
    assert (policy.measure, policy.rule.value) == ("margin", "above")
    # A policy is simulated with its own criterion, not the run's.
    assert run.simulate(policy).accuracy == other.simulate(policy).accuracy


def test_without_a_test_split_results_are_called_optimistic():
    run = ee.from_logits(*sample(200, 0), macs=[1e6, 2e6, 3e6])
    found = run.simulate(run.calibrate(drop=0.02))
    assert found.split == "calibration"
    assert "optimistic" in repr(found)
    assert run.sweep().split == run.exit_accuracy().split == "calibration"


def test_uncertainties_of_your_own():
    unsure = -LOGITS.max(axis=2)
    own = ee.from_uncertainties(unsure, CORRECT, macs=[2e6, 6e6, 15e6])
    policy = own.calibrate("coordinate", drop=0.02)
    found = own.simulate(policy)
    exits = np.where(
        unsure[:, 0] < policy.thresholds[0], 0, np.where(unsure[:, 1] < policy.thresholds[1], 1, 2)
    )
    assert found.accuracy == pytest.approx(CORRECT[np.arange(300), exits].mean())
    assert own.sweep(points=3).table.threshold.iloc[0] == pytest.approx(unsure.min())
    assert [*own.records()][:3] == ["index", "uncertainty_1", "correct_1"]
    assert "classes" not in repr(own)
    with pytest.raises(ee.InputError, match="made from uncertainties"):
        own.using(temperatures=True)
    with pytest.raises(ee.InputError):
        own.using(measure="entropy")


def test_a_network_with_one_exit():
    run = ee.from_logits(LOGITS[:, -1:], LABELS, macs=[5e6])
    found = run.simulate(run.calibrate(accuracy=0.9))
    assert (found.macs, found.exit_shares.tolist()) == (5e6, [1.0])


def test_a_folder_gives_the_same_as_arrays(folder, run):
    loaded, run = ee.load(folder), run.using(measure="entropy")
    assert (loaded.name, loaded.splits) == ("small", ("calibration", "test"))
    assert loaded.class_names[1] == "class 1"
    assert loaded.calibrate("coordinate", drop=0.01) == run.calibrate("coordinate", drop=0.01)
    assert (
        loaded.simulate(run.make_policy(0.5)).accuracy
        == run.simulate(run.make_policy(0.5)).accuracy
    )
    assert loaded.costs.macs.tolist() == [2e6, 6e6, 15e6]
    assert loaded.costs.ms.tolist() == pytest.approx([0.2, 0.6, 1.5])
    assert loaded.summary["experiment"] == "small"


def test_the_chosen_policy_is_read_from_the_file(folder):
    loaded = ee.load(str(folder))
    expected = loaded.make_policy(THRESHOLDS)
    assert loaded.policy == expected == ee.Policy.load(folder / "selection" / "policy.json")
    assert loaded.simulate().policy == expected
    assert loaded.policy.target == Target("drop", 0.01)


def test_an_incomplete_run_can_be_opened(folder):
    for name in ("selection/policy.json", "summary.json", "exits/test.parquet"):
        (folder / name).unlink()
    loaded = ee.load(folder)
    assert (loaded.splits, loaded.policy, loaded.summary) == (("calibration",), None, None)
    assert loaded.measures == ("margin", "max_probability", "entropy")
    assert loaded.calibrate(drop=0.01).target.value == 0.01
    with pytest.raises(ee.InputError, match="this run has no chosen policy"):
        loaded.simulate()


def test_files_of_different_provenance_are_an_error(folder, tmp_path):
    other = {"policy": {}, "identity": {"network": "x" * 64}}
    write_json(folder / "selection" / "policy.json", other)
    with pytest.raises(ee.InputError, match="another network"):
        ee.load(folder)
    second = write_run(tmp_path / "second")
    costs = second / "cost" / "cost.csv"
    costs.write_text(costs.read_text().replace("stage,1,8,2000000", "stage,1,8,2000001"))
    with pytest.raises(ee.InputError, match=r"other (prices|costs) than"):
        ee.load(second)
    third = write_run(tmp_path / "third")
    (third / "exits" / "test.parquet").write_bytes(
        (third / "exits" / "calibration.parquet").read_bytes()
    )
    with pytest.raises(ee.InputError, match="contains the split calibration, not test"):
        ee.load(third)


def test_policies_are_saved_and_loaded(run, tmp_path):
    for policy in (run.make_policy(["never", 0.25]), run.calibrate("certified_path", drop=0.05)):
        policy.save(tmp_path / "mine.json")
        renamed = (tmp_path / "mine.json").rename(tmp_path / "other.json")
        assert ee.Policy.load(renamed) == policy
    saved = json.loads(renamed.read_text())
    assert saved["target"] == {"drop": 0.05}
    assert saved["certificate"]["bound"] == 0.05


def test_a_derived_policy_loses_the_certificate(run):
    run = run.using(measure="margin")
    policy = run.calibrate("certified_path", drop=0.05)
    assert policy.certificate is not None
    bolder = run.make_policy([9.0, 9.0])
    assert bolder != policy
    assert getattr(bolder, "certificate", None) is None
    same = run.make_policy(policy.thresholds)
    assert same == policy and policy == same and hash(same) == hash(policy)


@pytest.mark.parametrize("measure", ["energy", "patience", "ensemble", "gate", "class_thresholds"])
def test_a_criterion_is_fitted_and_its_policies_are_simulated(run, measure, tmp_path):
    own = run.using(measure=measure)
    policy = own.calibrate("coordinate", macs_share=0.6)
    assert policy.measure == measure
    found = own.simulate(policy, "test")
    assert found.accuracy > 0.5
    policy.save(tmp_path / "policy.json")
    assert run.simulate(ee.Policy.load(tmp_path / "policy.json"), "test").macs == found.macs


def test_criteria_with_parameters_need_logits():
    own = ee.from_uncertainties(-LOGITS.max(axis=2), CORRECT, macs=[2e6, 6e6, 15e6])
    with pytest.raises(ee.InputError, match="made from uncertainties"):
        own.using(measure="gate")


def confident(seed):
    """Logits, labels, and as a confidence the logit of the largest probability, scaled."""
    logits, labels = sample(400, seed=seed)
    powers = np.exp(logits)
    largest = (powers / powers.sum(axis=2, keepdims=True)).max(axis=2)
    return logits, labels, np.log(largest / (1 - largest))


def test_a_confidence_is_a_measure_like_any_other():
    logits, labels, confidence = confident(0)
    run = ee.from_logits(
        logits,
        labels,
        macs=[2e6, 6e6, 15e6],
        confidence=confidence,
        test=confident(1),
        measure=["margin", "confidence"],
    )
    run.calibrate("coordinate", drop=0.02)
    own = run.using(measure="confidence", temperatures=True)
    assert own.temperatures is None
    policy = own.calibrate("coordinate", drop=0.02)
    # What a monotone function of another measure is, finds the same policy.
    other = run.using(measure="max_probability").calibrate("coordinate", drop=0.02)
    one, two = run.simulate(policy, "test"), run.simulate(other, "test")
    assert (one.accuracy, one.macs) == pytest.approx((two.accuracy, two.macs))
    expected = 1 - confidence.astype(np.float32)[:, 0]
    np.testing.assert_array_equal(own.records("calibration").confidence_1, expected)
    table = own.sweep("calibration", points=5).table
    early = 1 - confidence[:, :2]
    assert table.threshold.iloc[[0, -1]].tolist() == pytest.approx([early.min(), early.max()])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": np.zeros((400, 2))}, r"confidences of shape \(400, 2\); expected"),
        ({"confidence": np.full((400, 3), np.nan)}, "confidences of 400 samples are NaN"),
        ({"test": sample(300, seed=1)}, "test: must be a triple of logits"),
        ({"confidence": None, "test": None}, "records: have no confidences"),
    ],
)
def test_confidences_that_do_not_fit_are_refused(change, message):
    logits, labels, confidence = confident(0)
    given = {"confidence": confidence, "test": confident(1), "macs": [2e6, 6e6, 15e6]} | change
    with pytest.raises(ee.InputError, match=message):
        ee.from_logits(logits, labels, **given).using(measure="confidence")
