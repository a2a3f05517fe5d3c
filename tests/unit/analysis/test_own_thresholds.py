"""Thresholds of one's own: taken as they are, and priced like any other."""

import numpy as np
import pytest

from early_exit.analysis.evaluation import points_on_test
from early_exit.analysis.own_thresholds import check_number, own_choice, policy_of_thresholds
from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import simulate
from early_exit.policy.policy import Policy
from helpers import make_costs, make_records

CRITERION = ExitCriterion()
RECORDS, COSTS = make_records(), make_costs()


def test_thresholds_are_taken_as_they_are_and_priced():
    policy = policy_of_thresholds(CRITERION, [0.3, "never"])
    chosen = own_choice(policy, RECORDS, COSTS)
    point = simulate(policy, RECORDS, COSTS)
    assert Policy.from_json(chosen["policy"]).thresholds == (0.3, -np.inf)
    assert chosen["calibration"]["accuracy"] == point.accuracy
    assert chosen["calibration"]["macs"] == point.macs
    assert chosen["why"].startswith("thresholds of the user, taken as they are, on 60")
    assert chosen["criterion"] == {"name": "thresholds", "thresholds": [0.3, "never"]}


@pytest.mark.parametrize("wrong", ["often", float("nan"), float("inf"), "0.3", None])
def test_what_is_no_threshold_is_refused(wrong):
    with pytest.raises(InputError, match=r'here: .* is not a threshold; .*"never" or "always"'):
        policy_of_thresholds(CRITERION, [0.3, wrong], "here")


@pytest.mark.parametrize("given", [[0.3], [0.3, 0.2, 0.1]])
def test_the_number_of_thresholds_is_checked(given):
    with pytest.raises(InputError, match=rf"here: {len(given)} for 3 exits; give 2, one for each"):
        check_number(given, 3, "here")


def test_they_have_a_row_of_their_own_among_the_operating_points():
    policy = policy_of_thresholds(CRITERION, [0.3, 0.7])
    calibration = own_choice(policy, RECORDS, COSTS)["calibration"]
    points = points_on_test([], policy, RECORDS, COSTS, [CRITERION], calibration)
    assert points.method.tolist() == ["thresholds", "full_network"]
    assert points.chosen.tolist() == [True, False]
    assert points.calibration_accuracy[0] == calibration["accuracy"]
    assert points.threshold_2[0] == 0.7
    with pytest.raises(InputError, match="none of the calibrated ones"):
        points_on_test([], policy, RECORDS, COSTS, [CRITERION])
