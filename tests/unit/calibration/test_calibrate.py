"""The interface of all methods. test_methods has the cases of each method."""

from importlib import import_module

import numpy as np
import pytest

from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.methods import certified
from early_exit.calibration.targets import KINDS, Target
from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.operating_point import simulate
from early_exit.policy.policy import Policy, full_network
from early_exit.policy.samples import Samples, halves
from helpers import make_costs, make_records
from methods import METHODS

TARGETS = [
    Target("accuracy", 0.6),
    Target("drop", 0.05),
    Target("macs_share", 0.5),
    Target("macs", 2e7),
    Target("ms", 3.0),
    Target("ms_share", 0.9),
]


def policy_in(row, rule=ExitRule.BELOW) -> Policy:
    return Policy(ExitCriterion("entropy", rule), (row.threshold_1, row.threshold_2))


@pytest.mark.parametrize("rule", ExitRule)
@pytest.mark.parametrize("method", METHODS)
def test_a_row_for_each_target_that_the_method_takes(method, rule):
    records, costs = make_records(samples=300), make_costs()
    table = calibrate(method, records, costs, TARGETS, ExitCriterion(rule=rule))
    kinds = getattr(import_module(f"early_exit.calibration.methods.{method}"), "KINDS", KINDS)
    asked = [(t.kind, t.value) for t in TARGETS if t.kind in kinds]
    assert list(zip(table.target_kind, table.target, strict=True)) == asked
    assert "threshold_3" not in table.columns
    shares = table[["share_1", "share_2", "share_3"]].sum(axis=1)
    assert shares.to_numpy() == pytest.approx(1)
    for row in table.itertuples():
        assert row.correct == simulate(policy_in(row, rule), records, costs).correct


@pytest.mark.parametrize("method", METHODS)
def test_targets_are_met_on_the_calibration_samples(method):
    if method in ("percentile", "accuracy_target"):
        # These apply an accuracy to each exit.
        targets = [t for t in TARGETS if t.kind != "accuracy"]
    else:
        targets = TARGETS
    records, costs = make_records(samples=300), make_costs()
    table = calibrate(method, records, costs, targets, ExitCriterion())
    full = simulate(full_network(ExitCriterion(), 3), records, costs)
    for row in table.itertuples():
        least = {"accuracy": row.target, "drop": full.accuracy - row.target}.get(row.target_kind)
        if least is not None:
            assert row.accuracy >= least - 1e-9 or row.share_3 == 1
        most = {
            "macs": (row.macs, 2e7),
            "macs_share": (row.macs, 0.5 * full.macs),
            "ms": (row.ms_per_sample, 3.0),
            "ms_share": (row.ms_per_sample, 0.9 * full.ms),
        }.get(row.target_kind)
        assert most is None or most[0] <= most[1] * (1 + 1e-9)


def test_a_method_that_takes_none_of_the_targets_is_an_error():
    budget = [Target("macs_share", 0.5)]
    with pytest.raises(InputError, match=r"calibration\.targets: certified takes an accuracy"):
        calibrate("certified", make_records(), make_costs(), budget, ExitCriterion())


def test_the_row_contains_the_certificate():
    records = make_records(samples=2000)
    row = calibrate(
        "certified", records, make_costs(), [Target("drop", 0.1)], ExitCriterion()
    ).iloc[0]
    assert (row.certified_loss, row.certified_bound, row.certified_delta) == ("drop", 0.1, 0.1)
    assert row.certified_p_value <= 0.1 < row.certified_p_value_stopped
    assert row.certified_samples == 2000


@pytest.mark.parametrize("method", ["certified", "certified_path"])
def test_samples_that_fit_temperatures_do_not_test_a_certificate(method, monkeypatch):
    records = make_records(samples=2000)
    tested, p_value = [], certified._p_value

    def spying_p_value(samples, *arguments):
        tested.append(samples)
        return p_value(samples, *arguments)

    monkeypatch.setattr(certified, "_p_value", spying_p_value)
    scaled = ExitCriterion(temperatures=(2.0, 1.0, 1.0))
    calibrate(method, records, make_costs(), [Target("drop", 0.1)], scaled)
    testing = Samples.of(records, scaled).select(halves(2000)[1])
    for samples in tested:
        np.testing.assert_array_equal(samples.uncertainty, testing.uncertainty)


def test_temperatures_change_the_uncertainties():
    records, costs = make_records(samples=300), make_costs()
    scaled = ExitCriterion(temperatures=(1.0, 5.0, 1.0))
    plain = calibrate("uniform", records, costs, TARGETS[1:2], ExitCriterion()).iloc[0]
    other = calibrate("uniform", records, costs, TARGETS[1:2], scaled).iloc[0]
    assert other.share_2 < plain.share_2
    with pytest.raises(Exception, match="need logits"):
        calibrate("uniform", without_logits(records), costs, TARGETS[:1], scaled)


def without_logits(records):
    from dataclasses import replace

    return replace(records, logits=None)


@pytest.mark.parametrize("kind", ["macs_share", "ms_share"])
def test_one_exit_cannot_meet_a_budget_below_its_cost(kind):
    records, costs = make_records(exits=1), make_costs(1)
    few = calibrate("uniform", records, costs, [Target(kind, 0.5)], ExitCriterion()).iloc[0]
    assert few.infeasible.startswith("no policy takes at most 50 % of")
    row = calibrate("uniform", records, costs, [Target(kind, 1.0)], ExitCriterion()).iloc[0]
    assert (row.share_1, row.target) == (1.0, 1.0)
