import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.operating_point import simulate
from early_exit.policy.policy import Policy, uniform
from early_exit.policy.sweep import Counts, count, counts, curves, cutoffs, sweep, threshold_grid
from helpers import make_costs, make_records

# Few values, so that ties between samples, exits and thresholds are common.
GRID = np.linspace(0, 1, 5)
UNCERTAINTIES = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=st.sampled_from(GRID)
)


def test_the_grid_runs_from_0_to_ln_c():
    grid = threshold_grid("entropy", 10, 100)
    assert len(grid) == 100
    assert grid[0] == 0
    assert grid[-1] == pytest.approx(math.log(10))
    assert np.ptp(np.diff(grid)) == pytest.approx(0)


def test_by_hand():
    # Below 0.5 the first sample exits at exit 1 (wrong) and the second at exit 2 (correct).
    uncertainty = np.array([[0.1], [0.7]])
    correct = np.array([[False, True], [False, True]])
    shares, accuracy = curves(uncertainty, correct, np.array([0.0, 0.5, 1.0]))
    assert shares.tolist() == [[0, 1], [0.5, 0.5], [1, 0]]
    assert accuracy.tolist() == [1, 0.5, 0]


@given(
    uncertainty=UNCERTAINTIES,
    seed=st.integers(0, 2**16),
    thresholds=st.lists(st.sampled_from([*GRID, 0.3, -1.0, 2.0]), min_size=1, max_size=6),
)
def test_equals_one_threshold_at_a_time(uncertainty, seed, thresholds):
    correct = np.random.default_rng(seed).random(uncertainty.shape) < 0.5
    thresholds = np.array(thresholds)
    shares, accuracy = curves(uncertainty[:, :-1], correct, thresholds)
    samples, exits = uncertainty.shape
    for t, threshold in enumerate(thresholds):
        taken = uniform(ExitCriterion(), threshold, exits).exits_taken(uncertainty)
        expected = np.bincount(taken, minlength=exits) / samples
        np.testing.assert_allclose(shares[t], expected, atol=1e-12)
        assert accuracy[t] == pytest.approx(correct[np.arange(samples), taken].mean())


@pytest.mark.parametrize("rule", ExitRule)
@pytest.mark.parametrize("measure", ["entropy", "max_probability", "margin"])
def test_a_row_is_the_operating_point_of_its_threshold(rule, measure):
    records, costs = make_records(), make_costs()
    grid = threshold_grid(measure, records.classes, 7)
    table = sweep(records, costs, ExitCriterion(measure, rule), grid)
    for row in table.itertuples():
        point = simulate(
            uniform(ExitCriterion(measure, rule), row.threshold, records.exits), records, costs
        )
        assert row.accuracy == pytest.approx(point.accuracy)
        assert row.macs == pytest.approx(point.macs)
        assert row.ms_per_sample == pytest.approx(point.ms)
        assert [row.share_1, row.share_2, row.share_3] == pytest.approx(point.exit_shares.tolist())


@given(
    uncertainty=UNCERTAINTIES,
    seed=st.integers(0, 2**16),
    part=st.integers(0, 8),
    thresholds=st.lists(st.sampled_from([*GRID, 0.3]), min_size=1, max_size=4),
)
def test_the_counts_of_parts_add_up(uncertainty, seed, part, thresholds):
    correct = np.random.default_rng(seed).random(uncertainty.shape) < 0.5
    levels = np.array(thresholds)
    whole = counts(uncertainty[:, :-1], correct, levels)
    parts = Counts.none(len(levels), correct.shape[1])
    for rows in (slice(part), slice(part, None)):
        parts += counts(uncertainty[rows, :-1], correct[rows], levels)
    np.testing.assert_array_equal(parts.exited, whole.exited)
    np.testing.assert_array_equal(parts.right, whole.right)
    shares, accuracy = curves(uncertainty[:, :-1], correct, levels)
    np.testing.assert_array_equal(whole.shares, shares)
    np.testing.assert_array_equal(whole.accuracy, accuracy)
    again = Counts.from_table(whole.table(), correct.shape[1])
    np.testing.assert_array_equal(again.right, whole.right)


@pytest.mark.parametrize("rule", ExitRule)
def test_a_cutoff_is_reported_for_each_exit(rule):
    records, costs, criterion = make_records(), make_costs(), ExitCriterion(rule=rule)
    ((table),) = cutoffs(
        count(records, criterion, np.array([0.6])), costs, criterion, np.array([0.6])
    )
    policy = Policy(criterion, (0.6, 0.6))
    taken = policy.exits_taken(records.uncertainty)
    right = records.correct[np.arange(len(records)), taken]
    assert table.exit.tolist() == ["1", "2", "3", "overall"]
    assert table.exited[:3].tolist() == np.bincount(taken, minlength=3).tolist()
    assert table.reached.tolist() == [60, 60 - table.exited[0], table.exited[2], 60]
    for k in range(3):
        if (taken == k).any():
            assert table.accuracy[k] == pytest.approx(right[taken == k].mean())
    assert table.accuracy[3] == pytest.approx(right.mean())
    assert table.macs[3] == pytest.approx(simulate(policy, records, costs).macs)
