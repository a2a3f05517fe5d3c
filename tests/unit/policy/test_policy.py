import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.policy import Policy, full_network, uniform
from helpers import policies

UNCERTAINTY = np.array([[0.1, 0.9, 0.2], [0.5, 0.4, 0.3], [0.9, 0.9, 0.9]])


def test_below_exits_certain_samples_first():
    policy = Policy(ExitCriterion(), (0.3, 0.5))
    assert policy.exits_taken(UNCERTAINTY).tolist() == [0, 1, 2]


def test_above_exits_uncertain_samples_first():
    policy = Policy(ExitCriterion("entropy", ExitRule.ABOVE), (0.8, 0.8))
    assert policy.exits_taken(UNCERTAINTY).tolist() == [1, 2, 0]


@pytest.mark.parametrize("rule", ExitRule)
def test_the_comparison_is_strict(rule):
    policy = uniform(ExitCriterion("entropy", rule), 0.5, 2)
    assert policy.exits_taken(np.array([[0.5, 0.0]])).tolist() == [1]


@pytest.mark.parametrize("rule", ExitRule)
def test_never_and_always(rule):
    everybody = uniform(ExitCriterion("entropy", rule), rule.always, 3)
    assert everybody.exits_taken(UNCERTAINTY).tolist() == [0, 0, 0]
    nobody = full_network(ExitCriterion("entropy", rule), 3)
    assert nobody.exits_taken(UNCERTAINTY).tolist() == [2, 2, 2]


@pytest.mark.parametrize("rule", ExitRule)
def test_a_head_runs_unless_no_sample_can_exit(rule):
    policy = Policy(ExitCriterion("entropy", rule), (rule.never, 0.5, rule.always))
    assert policy.heads_run == (False, True, True, True)


def test_a_float32_uncertainty_is_not_rounded_onto_the_threshold():
    # 0.1 as float32 is a little above 0.1: it must not exit at a double threshold of 0.1.
    policy = Policy(ExitCriterion(), (0.1,))
    assert policy.exits_taken(np.array([[0.1, 0.0]], np.float32)).tolist() == [1]


@given(policy=policies(4))
def test_json_round_trip(policy):
    assert Policy.from_json(policy.to_json()) == policy


@pytest.mark.parametrize("rule", ExitRule)
def test_json_names_infinite_thresholds(rule):
    policy = Policy(ExitCriterion("entropy", rule), (rule.never, rule.always, 0.25))
    assert policy.to_json()["thresholds"] == ["never", "always", 0.25]


def test_a_measure_that_was_renamed_is_read():
    content = Policy(ExitCriterion("external"), (0.5,)).to_json()
    assert content["measure"] == "external"
    assert Policy.from_json(content | {"measure": "given"}) == Policy.from_json(content)


@given(
    policy=policies(3),
    uncertainty=hnp.arrays(np.float64, (7, 3), elements=st.floats(0, 1.4)),
)
def test_each_sample_exits_where_the_criterion_is_first_met(policy, uncertainty):
    for row, taken in zip(uncertainty, policy.exits_taken(uncertainty), strict=True):
        for k in range(taken):
            assert not policy.rule.met(row[k], policy.thresholds[k])
        assert taken == 2 or policy.rule.met(row[taken], policy.thresholds[taken])


def test_nan_is_no_threshold():
    with pytest.raises(InputError, match="not a number"):
        Policy(ExitCriterion(), (math.nan,))


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        {"measure": "entropy", "exit_rule": "sideways", "thresholds": []},
        {"measure": "entropy", "exit_rule": "below", "thresholds": ["sometimes"]},
        {"measure": "entropy", "exit_rule": "below"},
    ],
)
def test_what_is_no_policy_is_named(content):
    with pytest.raises(InputError, match=r"policy\.json"):
        Policy.from_json(content, "policy.json")


def test_another_number_of_exits_is_refused():
    with pytest.raises(InputError, match="made for 2 exits, but the records have 3"):
        uniform(ExitCriterion(), 0.5, 2).exits_taken(UNCERTAINTY)
