"""The package: what every method is given and gives. The methods' own cases are in test_methods."""

from importlib import import_module

import numpy as np
import pytest

from early_exit.calibration import calibrate, certified
from early_exit.errors import InputError
from early_exit.operating_point import simulate
from early_exit.policy import ExitRule, Policy
from early_exit.samples import Samples, halves
from early_exit.targets import KINDS, Target
from helpers import make_costs, make_records, sees
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
    return Policy("entropy", rule, (row.threshold_1, row.threshold_2))


@pytest.mark.parametrize("rule", ExitRule)
@pytest.mark.parametrize("method", METHODS)
def test_a_row_for_each_target_that_the_method_takes(method, rule):
    records, costs = make_records(samples=300), make_costs()
    table = calibrate(method, records, costs, TARGETS, sees(3, rule))
    kinds = getattr(import_module(f"early_exit.calibration.{method}"), "KINDS", KINDS)
    asked = [(t.kind, t.value) for t in TARGETS if t.kind in kinds]
    assert list(zip(table.target_kind, table.target, strict=True)) == asked
    assert "threshold_3" not in table.columns
    shares = table[["share_1", "share_2", "share_3"]].sum(axis=1)
    assert shares.to_numpy() == pytest.approx(1)
    for row in table.itertuples():
        assert row.correct == simulate(policy_in(row, rule), records, costs).correct


@pytest.mark.parametrize("method", METHODS)
def test_targets_are_kept_on_the_samples_they_were_found_on(method):
    if method in ("percentile", "accuracy_target"):
        # These take an accuracy as a wish about each exit.
        targets = [t for t in TARGETS if t.kind != "accuracy"]
    else:
        targets = TARGETS
    records, costs = make_records(samples=300), make_costs()
    table = calibrate(method, records, costs, targets, sees())
    whole = simulate(sees(), records, costs)
    for row in table.itertuples():
        least = {"accuracy": row.target, "drop": whole.accuracy - row.target}.get(row.target_kind)
        if least is not None:
            assert row.accuracy >= least - 1e-9 or row.share_3 == 1
        most = {
            "macs": (row.macs, 2e7),
            "macs_share": (row.macs, 0.5 * whole.macs),
            "ms": (row.ms_per_sample, 3.0),
            "ms_share": (row.ms_per_sample, 0.9 * whole.ms),
        }.get(row.target_kind)
        assert most is None or most[0] <= most[1] * (1 + 1e-9)


def test_a_method_that_takes_none_of_the_targets_is_named():
    budget = [Target("macs_share", 0.5)]
    with pytest.raises(InputError, match=r"calibration\.targets: certified promises an accuracy"):
        calibrate("certified", make_records(), make_costs(), budget, sees())


def test_a_certificate_stands_in_the_row():
    records = make_records(samples=2000)
    row = calibrate("certified", records, make_costs(), [Target("drop", 0.1)], sees()).iloc[0]
    assert (row.certified_loss, row.certified_bound, row.certified_delta) == ("drop", 0.1, 0.1)
    assert row.certified_p_value <= 0.1 < row.certified_p_value_stopped
    assert row.certified_samples == 2000


@pytest.mark.parametrize("method", ["certified", "certified_path"])
def test_what_temperatures_were_fitted_on_does_not_test_a_promise(method, monkeypatch):
    records = make_records(samples=2000)
    seen, p_value = [], certified._p_value

    def spying_p_value(samples, *arguments):
        seen.append(samples)
        return p_value(samples, *arguments)

    monkeypatch.setattr(certified, "_p_value", spying_p_value)
    scaled = Policy("entropy", ExitRule.BELOW, (-np.inf,) * 2, (2.0, 1.0, 1.0))
    calibrate(method, records, make_costs(), [Target("drop", 0.1)], scaled)
    testing = Samples.of(records, scaled).select(halves(2000)[1])
    for samples in seen:
        np.testing.assert_array_equal(samples.uncertainty, testing.uncertainty)


def test_temperatures_are_part_of_what_is_seen():
    records, costs = make_records(samples=300), make_costs()
    scaled = Policy("entropy", ExitRule.BELOW, (-np.inf,) * 2, (1.0, 5.0, 1.0))
    plain = calibrate("uniform", records, costs, TARGETS[1:2], sees()).iloc[0]
    other = calibrate("uniform", records, costs, TARGETS[1:2], scaled).iloc[0]
    assert other.share_2 < plain.share_2
    with pytest.raises(Exception, match="need logits"):
        calibrate("uniform", without_logits(records), costs, TARGETS[:1], scaled)


def without_logits(records):
    from dataclasses import replace

    return replace(records, logits=None)
