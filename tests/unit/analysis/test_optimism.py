"""Optimism of the choice among policies, by the bootstrap."""

import numpy as np
import pandas as pd
import pytest

from early_exit.analysis.optimism import DRAWS, optimism, with_optimism
from early_exit.analysis.selection import Criterion, with_full_network
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import simulate
from early_exit.policy.policy import Policy, full_network
from early_exit.records.table import from_external
from helpers import make_costs

CRITERION = ExitCriterion("external")
CHOICE = Criterion("fastest", accuracy_floor=0.0)


def guesses(exits: int, samples: int = 400):
    """Records whose exits are right by chance, and a policy that exits at each."""
    rng = np.random.default_rng(0)
    correct = rng.random((samples, exits)) < 0.5
    records = from_external(np.arange(samples), rng.random((samples, exits)), correct, {})
    never, always = CRITERION.rule.never, CRITERION.rule.always
    policies = [
        Policy(CRITERION, tuple(always if k == exit else never for k in range(exits - 1)))
        for exit in range(exits - 1)
    ]
    return records, policies


def candidates(records, policies, costs):
    rows = [{"method": "uniform"} | simulate(policy, records, costs).row() for policy in policies]
    full = simulate(full_network(CRITERION, records.exits), records, costs)
    return with_full_network([pd.DataFrame(rows)], full)


def test_the_best_of_many_guesses_is_lucky():
    """The best of 12 is some 1.6 standard errors of 400 samples too good: 4 points."""
    records, policies = guesses(12)
    costs = make_costs(12)
    table = candidates(records, policies, costs)
    within = Criterion("most_accurate", latency_budget_ms=1e9)
    found = optimism(table, within, records, costs)
    assert 0.02 < found < 0.05
    assert found == optimism(table, within, records, costs)


def test_where_there_is_no_choice_there_is_no_optimism():
    records, policies = guesses(3)
    costs = make_costs(3)
    found = optimism(candidates(records, policies[:1], costs), CHOICE, records, costs)
    # The cheapest is always the same policy; what is left is chance.
    assert abs(found) < 3 * 0.5 / np.sqrt(len(records) * DRAWS)


def test_a_floor_that_no_draw_reaches_has_none():
    records, policies = guesses(3)
    costs = make_costs(3)
    out_of_reach = Criterion("fastest", accuracy_floor=0.99)
    assert optimism(candidates(records, policies, costs), out_of_reach, records, costs) is None


def test_it_is_said_in_the_reason():
    said = with_optimism({"why": "cheapest"}, 0.0012)
    assert said["optimism"] == pytest.approx(0.0012)
    assert said["why"] == (
        "cheapest; by being chosen it looks 0.12 points more accurate than it is (bootstrap)"
    )
    for nothing in (None, -0.0002, 0.0):
        said = with_optimism({"why": "cheapest"}, nothing)
        assert said == {"why": "cheapest", "optimism": nothing}
