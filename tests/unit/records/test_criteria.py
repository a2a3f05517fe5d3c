"""Exit criteria by hand, in numpy and torch alike, and what they cost."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.criteria import fit
from early_exit.calibration.targets import Target
from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import policy_of, simulate
from early_exit.policy.policy import Policy
from early_exit.policy.samples import halves, held_out
from early_exit.records.uncertainty import (
    accuracy_matched,
    class_thresholds,
    ensemble,
    gate,
    gate_later,
    measures,
)
from early_exit.records.uncertainty.features import margin, seen
from helpers import a_criterion, make_costs, make_records

FITTED = [name for name in measures.NAMES if measures.is_fitted(name)]
EARLIER = [name for name in measures.NAMES if measures.uses_earlier(name)]


def logs(*probabilities):
    return np.log(np.array(probabilities))


def steps(name, parameters, *exits):
    """Uncertainty and prediction of the first sample at each exit of four."""
    step, memory, found = measures.step(name, parameters, 4), (), []
    for k, logits in enumerate(exits):
        unsure, prediction, memory = step(logits, k, memory)
        found.append((unsure[0], None if prediction is None else prediction[0]))
    return found


def test_energy_keeps_the_order_of_the_energy():
    logits = np.array([[3.0, 3.0], [0.0, 0.0], [-9.0, -9.0]])
    energy = -np.log(np.exp(logits).sum(axis=1))
    found = measures.measure("energy")(logits)
    assert found == pytest.approx((1 + energy / (1 + abs(energy))) / 2)
    assert (np.diff(found) > 0).all()
    assert ((found > 0) & (found < 1)).all()


def test_patience_counts_agreements_in_a_row():
    a, b = logs([0.9, 0.1]), logs([0.2, 0.8])
    assert [u for u, _ in steps("patience", None, a, a, a)] == pytest.approx([1, 1 / 2, 1 / 3])
    assert [u for u, _ in steps("patience", None, a, b, b)] == pytest.approx([1, 1, 1 / 2])
    # At the final exit nothing is decided.
    assert steps("patience", None, a, a, a, b)[-1][0] == pytest.approx(1 - 0.6)


def test_patience_with_a_threshold_asks_the_margin_among_equals():
    a = logs([0.9, 0.1])
    found = [u for u, _ in steps("patient_margin", None, a, a)]
    assert found == pytest.approx([1 / 2 + 0.2 / 2, 1 / 3 + 0.2 * (1 / 2 - 1 / 3)])


def test_an_ensemble_multiplies_probabilities():
    parameters = json.dumps({"weights": [[1.0], [1.0, 2.0], [0.0, 0.0, 1.0]]})
    first, second = logs([0.8, 0.2]), logs([0.4, 0.6])
    # 0.8 * 0.4^2 = 0.128 against 0.2 * 0.6^2 = 0.072.
    found = steps("ensemble", parameters, first, second, second, second)
    assert found[0] == (pytest.approx(1 - 0.6), 0)
    assert found[1] == (pytest.approx(1 - (0.128 - 0.072) / 0.2), 0)
    assert found[2] == (pytest.approx(1 - 0.2), 1)
    assert found[3] == (pytest.approx(1 - 0.2), None)


def test_an_ensemble_learns_which_exit_to_trust():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 500)
    told = np.log(0.2 + 0.6 * np.eye(3)[labels]) + rng.normal(0, 0.3, (500, 3))
    noise = rng.normal(size=(500, 3))
    weights = ensemble.fit(np.stack([noise, told, told], axis=1), labels)["weights"]
    assert [len(one) for one in weights] == [1, 2]
    assert weights[1][0] < 0.1 < 0.8 < weights[1][1]


def test_what_a_gate_sees_by_hand():
    logits = logs([0.5, 0.25, 0.25])
    values, prediction = seen(logits, (np.array([0]), np.array([2])))
    expected = [0.5, 1.5 * math.log(2) / math.log(3), 0.25, 0.5]
    assert [value[0] for value in values] == pytest.approx(expected)
    assert prediction.tolist() == [0]


def test_a_gate_is_the_logistic_function_of_what_it_sees():
    parameters = json.dumps({"weights": [[1.0, 0, 0, 2.0, -1.0]] * 3})
    a = logs([0.5, 0.25, 0.25])
    found = [u for u, _ in steps("gate", parameters, a, a)]
    assert found == pytest.approx([1 / (1 + math.exp(0.5)), 1 / (1 + math.exp(-1.5))])


def test_a_gate_says_how_often_an_exit_is_wrong():
    records = make_records(4000)
    parameters = gate.fit(records.logits, records.label)
    step = measures.step("gate", json.dumps(parameters), 3)
    wrong = ~records.correct
    memory = ()
    for k in range(2):
        unsure, _, memory = step(records.logits[:, k].astype(float), k, memory)
        assert unsure.mean() == pytest.approx(wrong[:, k].mean(), abs=0.01)
        low = unsure < np.median(unsure)
        assert wrong[low, k].mean() == pytest.approx(unsure[low].mean(), abs=0.05)


def test_a_gate_of_an_exit_that_is_always_right_is_sure():
    logits = np.stack([np.eye(2)[[0, 1, 0, 1]] * 5] * 2, axis=1)
    (weights,) = gate.fit(logits, np.array([0, 1, 0, 1]))["weights"]
    # (0 + 1) / (4 + 2)
    assert weights == pytest.approx([0, 0, 0, 0, math.log(1 / 5)])
    later = gate_later.fit(logits, np.array([0, 1, 0, 1]))["weights"]
    assert later == [weights]


def test_accuracies_are_matched_by_isotonic_regression():
    confidence = np.array([0.6, 0.7, 0.8, 0.9])
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1))
    labels = np.array([1, 0, 1, 0])
    both = accuracy_matched.fit(np.stack([logits, logits], axis=1), labels)
    step = measures.step("accuracy_matched", json.dumps(both), 2)
    unsure, _, _ = step(logits, 0, ())
    # Wrong, right, wrong, right: 0, then 1/2 twice, then 1.
    expected = 1 - 0.99 * np.array([0, 0.5, 0.5, 1]) - 0.01 * confidence
    assert unsure == pytest.approx(expected, abs=0.02)
    assert (np.diff(unsure) < 0).all()


def test_confidences_that_single_precision_cannot_tell_apart_are_one_point():
    """A saturated network: every probability is 1 but for the ninth digit."""
    gap = np.linspace(20, 40, 200, dtype=np.float32)
    logits = np.stack([gap, np.zeros_like(gap)], axis=1)
    labels = (np.arange(200) % 5 == 0).astype(int)
    parameters = accuracy_matched.fit(np.stack([logits, logits], axis=1), labels)
    step = measures.step("accuracy_matched", json.dumps(parameters), 2)
    for given in (logits.astype(float), torch.from_numpy(logits)):
        unsure = np.asarray(step(given, 0, ())[0])
        assert np.isfinite(unsure).all()
        assert ((unsure > -1e-6) & (unsure <= 1)).all()


def test_offsets_of_classes_are_a_shrunk_newton_step():
    prediction = np.array([0, 0, 0, 1])
    found = class_thresholds.class_logits(
        prediction, np.array([1, 1, 1, 0]), np.full(4, 0.5), classes=3
    )
    # (3 - 1.5) / (3 / 4 + 4), (0 - 0.5) / (1 / 4 + 4), and nothing is known of the third.
    assert found == pytest.approx([1.5 / 4.75, -0.5 / 4.25, 0])


def test_an_offset_lets_its_class_exit_sooner():
    offsets = json.dumps({"offsets": [[0.2, 0.0]] * 3})
    (first, _), (second, _) = (
        steps("class_thresholds", offsets, one)[0] for one in (logs([0.7, 0.3]), logs([0.3, 0.7]))
    )
    assert second - first == pytest.approx(0.2 / 2)
    assert second == pytest.approx((0.6 + 0.5) / 2)


@pytest.mark.parametrize("name", measures.NAMES)
def test_numpy_and_torch_agree(name):
    records = make_records(200)
    parameters = a_criterion(name).parameters
    step, memory, other = measures.step(name, parameters, 3), (), ()
    for k in range(3):
        logits = records.logits[:, k]
        unsure, prediction, memory = step(logits.astype(float), k, memory)
        unsure_other, prediction_other, other = step(torch.from_numpy(logits), k, other)
        assert unsure_other.numpy() == pytest.approx(unsure, abs=1e-5)
        assert (unsure >= 0).all()
        assert (unsure <= measures.maximum(name, 4) + 1e-6).all()
        assert (prediction is None) == (prediction_other is None)
        if prediction is not None:
            assert prediction_other.tolist() == prediction.tolist()


@pytest.mark.parametrize("name", FITTED)
def test_parameters_are_fitted_on_one_half_and_thresholds_on_the_other(name):
    records = make_records(300)
    criterion = fit(records, ExitCriterion(name))
    changed = records.select(np.arange(300))
    logits = changed.logits.copy()
    logits[halves(300)[1]] = 0.0
    assert fit(replace(changed, logits=logits), ExitCriterion(name)) == criterion
    row = calibrate("uniform", records, make_costs(), [Target("drop", 0.05)], criterion).iloc[0]
    assert row.samples == 150
    held_out = records.select(halves(300)[1])
    point = simulate(policy_of(row, [criterion]), held_out, make_costs())
    assert (point.accuracy, point.macs) == (row.accuracy, pytest.approx(row.macs))
    # What it was fitted to says nothing of thresholds.
    logits = records.logits.copy()
    logits[halves(300)[0]] = logits[halves(300)[0]][::-1]
    other = replace(records, logits=logits, prediction=logits.argmax(axis=2))
    again = calibrate("uniform", other, make_costs(), [Target("drop", 0.05)], criterion).iloc[0]
    assert again.equals(row)


@pytest.mark.parametrize("name", measures.NAMES)
def test_a_network_with_one_exit_has_nothing_to_fit(name):
    records = make_records(exits=1)
    criterion = fit(records, ExitCriterion(name))
    row = calibrate("uniform", records, make_costs(1), [Target("drop", 0.05)], criterion).iloc[0]
    assert row.accuracy == pytest.approx(criterion.correct(held_out(records, criterion)).mean())


@pytest.mark.parametrize("name", measures.NAMES)
def test_a_policy_with_parameters_is_saved(name, tmp_path):
    policy = Policy(a_criterion(name), (0.3, "never"))
    policy.save(tmp_path / "policy.json")
    assert Policy.load(tmp_path / "policy.json") == policy


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("gate", None, "gate needs its fitted parameters"),
        ("margin", {"weights": [[1.0]]}, "margin has no parameters"),
        ("gate", {"weights": [[1.0] * 5]}, "needs weights for each of 2 exits, finite numbers"),
        ("gate", {"weights": [[1.0] * 5, [math.nan] * 5]}, "finite numbers"),
        ("gate", {"weights": [["1"] * 5] * 2}, "finite numbers"),
        ("gates", None, "'gates' is unknown; it must be one of accuracy_matched"),
    ],
)
def test_parameters_that_do_not_fit_are_named(name, parameters, said):
    with pytest.raises(InputError, match=said):
        Policy(ExitCriterion(name, parameters=parameters), (0.1, 0.2))


@pytest.mark.parametrize("name", EARLIER)
def test_heads_that_are_passed_run_and_are_paid(name):
    criterion, costs = a_criterion(name), make_costs()
    assert Policy(criterion, ("never", 0.3)).heads_run == (True, True, True)
    assert Policy(criterion, ("never", "never")).heads_run == (False, False, True)
    assert Policy(ExitCriterion(), ("never", 0.3)).heads_run == (False, True, True)
    paid = costs.with_all_heads()
    # 10 + 1, 30 + 3 and 60 + 6 million MACs.
    assert paid.macs((False, False, True)).tolist() == pytest.approx([11e6, 33e6, 66e6])
    assert paid.ms((False, False, True)).tolist() == pytest.approx([1.1, 3.3, 6.6])
    for unit in ("macs", "ms"):
        assert paid.in_unit(unit).full_network == costs.in_unit(unit).full_network
        assert paid.with_all_heads().in_unit(unit).full_network == paid.in_unit(unit).full_network


@pytest.mark.parametrize("name", EARLIER)
@pytest.mark.parametrize("method", ["uniform", "coordinate", "exact_grid", "dynamic_programming"])
def test_budgets_are_kept_with_heads_paid(name, method):
    records, costs = make_records(400), make_costs()
    criterion = fit(records, ExitCriterion(name))
    for target in (Target("macs_share", 0.6), Target("ms_share", 0.6)):
        row = calibrate(method, records, costs, [target], criterion).iloc[0]
        full = costs.in_unit(target.unit("macs")).full_network
        cost = row.macs if target.kind == "macs_share" else row.ms_per_sample
        assert cost <= 0.6 * full * (1 + 1e-9)


def test_the_full_network_predicts_alone():
    records = make_records(200)
    criterion = fit(records, ExitCriterion("ensemble"))
    full = Policy(criterion, ("never", "never"))
    point = simulate(full, records, make_costs())
    assert point.accuracy == records.correct[:, -1].mean()
    assert (criterion.prediction(records)[:, :2] != records.prediction[:, :2]).any()
    assert (criterion.correct(records)[:, -1] == records.correct[:, -1]).all()
    kept = records.without_logits(criterion.key)
    halved = kept.select(np.arange(100))
    assert (criterion.prediction(halved) == criterion.prediction(records)[:100]).all()


def test_margins_of_equal_classes_are_nothing():
    assert margin(np.zeros((1, 3))) == pytest.approx([0])
