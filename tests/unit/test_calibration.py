import numpy as np
import pytest

from early_exit.calibration import calibrate, percentile, uniform
from early_exit.operating_point import simulate
from early_exit.policy import ExitRule
from early_exit.policy import uniform as uniform_policy
from early_exit.records import Records
from helpers import make_costs, make_records


def records_by_hand() -> Records:
    """Ten samples, two exits: exit 1 is right on six of ten, its entropies are 0.0 to 0.9."""
    entropy = np.stack([np.arange(10) / 10, np.zeros(10)], axis=1).astype(np.float32)
    label = np.array([0, 1] * 5)
    prediction = np.stack([np.where(np.arange(10) < 6, label, 1 - label), label], axis=1)
    identity = {"classes": 2, "exits": 2, "network": "n", "data": "d", "split": "calibration"}
    return Records(np.arange(10), label, entropy, prediction, None, identity)


@pytest.mark.parametrize("rule", ExitRule)
def test_percentile_by_hand(rule):
    # The 0.3 quantile of 0.0, 0.1, ... 0.9 lies 0.3 * 9 = 2.7 steps up: 0.27.
    found = percentile.thresholds(records_by_hand(), make_costs(2), 0.7, "entropy", rule)
    assert found == pytest.approx([0.27])


@pytest.mark.parametrize("rule", ExitRule)
def test_an_exit_above_the_target_lets_everybody_leave(rule):
    records = records_by_hand()
    assert percentile.thresholds(records, make_costs(2), 0.59, "entropy", rule) == [rule.always]
    # Exactly as accurate is not above.
    assert np.isfinite(percentile.thresholds(records, make_costs(2), 0.6, "entropy", rule)).all()


@pytest.mark.parametrize(
    ("target", "expected"),
    # Below 0.6 the six right ones leave, below 0.7 a wrong one as well, and so on.
    [(1.0, 0.6), (0.95, 0.6), (0.9, 0.7), (0.7, 0.9), (0.6, np.inf), (0.0, np.inf)],
)
def test_uniform_is_the_loosest_threshold_that_reaches_the_target(target, expected):
    records = records_by_hand()
    found = uniform.thresholds(records, make_costs(2), target, "entropy", ExitRule.BELOW)
    assert found == pytest.approx([expected])


@pytest.mark.parametrize("rule", ExitRule)
@pytest.mark.parametrize("target", [0.5, 0.7, 0.8, 0.95])
def test_uniform_keeps_its_target_and_nothing_looser_does(rule, target):
    records, costs = make_records(samples=200), make_costs()
    found = uniform.thresholds(records, costs, target, "entropy", rule)
    assert len(set(found)) == 1

    def accuracy(threshold):
        policy = uniform_policy("entropy", rule, threshold, 3)
        return simulate(policy, records, costs).accuracy

    if np.isfinite(found[0]) or found[0] == rule.always:
        assert accuracy(found[0]) >= target
    for looser in np.unique(records.entropy[:, :2]):
        if rule.sign * looser > rule.sign * found[0]:
            assert accuracy(looser) < target


def test_uniform_lets_nobody_leave_where_nothing_reaches_the_target():
    records = make_records()
    rule = ExitRule.ABOVE
    assert (uniform.thresholds(records, make_costs(), 1.01, "entropy", rule) == rule.never).all()


def test_a_row_for_each_target():
    targets = [0.5, 0.7, 0.9]
    table = calibrate(
        "percentile", make_records(), make_costs(), targets, "entropy", ExitRule.BELOW
    )
    assert table.target.tolist() == targets
    assert {"threshold_1", "threshold_2", "accuracy", "macs", "ms_per_sample", "share_3"} <= set(
        table.columns
    )
    assert "threshold_3" not in table.columns
    shares = table[["share_1", "share_2", "share_3"]].sum(axis=1)
    assert shares.to_numpy() == pytest.approx(1)
