"""Each method by hand, and what all of them have in common."""

from importlib import import_module
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from early_exit.calibration import (
    accuracy_target,
    coordinate,
    distribution,
    dynamic_programming,
    exact_grid,
    find,
    percentile,
    uniform,
)
from early_exit.errors import InputError
from early_exit.policy import ExitRule
from early_exit.samples import Samples
from early_exit.targets import Target, evaluate
from helpers import make_costs
from methods import METHODS

INF = np.inf
# Those whose thresholds move with any monotone transform of all exits' uncertainties.
EQUIVARIANT = [
    "uniform",
    "accuracy_target",
    "distribution",
    "coordinate",
    "dynamic_programming",
    "exact_grid",
    "certified_path",
]
# Those that look for the best: with more budget they never find less accuracy.
SEEKING = [m for m in METHODS if m not in ("certified", "certified_path")]


def ten(right_early: int = 6) -> Samples:
    """Ten samples, two exits: uncertainties 0.0 to 0.9, the first right early, all right late."""
    correct = np.stack([np.arange(10) < right_early, np.ones(10, bool)], axis=1)
    return Samples(np.arange(10)[:, None] / 10, correct)


def drawn(seed: int, samples: int = 80, exits: int = 4, levels: int = 30) -> Samples:
    """Samples whose surer exits are more often right; few levels make ties."""
    rng = np.random.default_rng(seed)
    hardness = rng.random((samples, 1))
    noise = rng.random((samples, exits))
    correct = hardness * (1.2 - np.arange(exits) / exits) < noise
    uncertainty = np.clip(hardness + rng.normal(0, 0.2, (samples, exits)), 0, 1)[:, :-1]
    return Samples(np.round(uncertainty * levels) / levels, correct)


def found(method: str, samples: Samples, *targets: Target) -> np.ndarray:
    module = import_module(f"early_exit.calibration.{method}")
    return module.thresholds(samples, make_costs(samples.exits).prices("macs"), targets)


def accuracy(value: float) -> Target:
    return Target("accuracy", value)


# Prices of two exits: stages 10 and 20, heads 1 and 2: 32 without the early head, 33 with it.


def test_percentile_by_hand():
    # The 0.3 quantile of 0.0, 0.1, ... 0.9 lies 0.3 * 9 = 2.7 steps up: 0.27.
    assert percentile.percentiles(ten(), 0.7) == pytest.approx([0.27])
    turned = Samples(-ten().uncertainty, ten().correct, ExitRule.ABOVE)
    assert percentile.percentiles(turned, 0.7) == pytest.approx([-0.27])


def test_percentile_lets_everybody_leave_an_exit_above_the_target():
    assert percentile.percentiles(ten(), 0.59) == [INF]
    # Exactly as accurate is not above.
    assert np.isfinite(percentile.percentiles(ten(), 0.6)).all()


@pytest.mark.parametrize(
    ("target", "expected"),
    # Below 0.6 the six right ones leave, below 0.7 a wrong one as well, and so on.
    [(1.0, 0.6), (0.95, 0.6), (0.9, 0.7), (0.7, 0.9), (0.6, INF)],
)
def test_uniform_by_hand(target, expected):
    assert found("uniform", ten(), accuracy(target))[0] == pytest.approx([expected])


def test_accuracy_target_by_hand():
    # Of those that leave, 6 of 7 are right at 0.85, 6 of 6 at 1; the last exit takes the others.
    assert accuracy_target.cuts(ten(), 6 / 7) == pytest.approx([0.7])
    assert accuracy_target.cuts(ten(), 1.0) == pytest.approx([0.6])
    assert accuracy_target.cuts(ten(), 0.6) == [INF]
    assert accuracy_target.cuts(ten(0), 0.5) == [-INF]


def test_accuracy_target_looks_at_those_still_there():
    # Three exits. The two surest leave exit 1; of the others exit 2 is right on the first alone.
    uncertainty = np.array([[0.1, 0.1], [0.2, 0.9], [0.8, 0.3], [0.9, 0.4]])
    correct = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1]], bool)
    assert accuracy_target.cuts(Samples(uncertainty, correct), 1.0) == pytest.approx([0.8, 0.4])


def test_distribution_by_hand():
    # Ratio 1: half of ten leave at exit 1. Ratio 1/4: eight. Ratio 4: two.
    shares = {1.0: 0.5, 0.25: 0.8, 4.0: 0.2}
    for ratio, threshold in shares.items():
        assert distribution.geometric(ten(), ratio) == pytest.approx([threshold])


def test_distribution_is_guarded_where_fewer_remain_than_should_leave():
    # All are tied at exit 1, so all leave there, and nobody is left for exit 2.
    samples = Samples(np.zeros((6, 2)), np.ones((6, 3), bool))
    assert distribution.geometric(samples, 1.0).tolist() == [INF, -INF]


def test_coordinate_by_hand():
    prices = make_costs(2).prices("macs")
    # Leaving early saves 22 of 32; the head costs 1 on all ten. Free, it is no use at no penalty.
    assert coordinate.best_cut(ten(), prices, np.array([-INF]), 0, 0.0) == -INF
    # At 1 point for the whole cost: 6 right ones save 6 * 22/32 and pay 10 * 1/32; each wrong one
    # saves 22/32 and loses 1.
    assert coordinate.best_cut(ten(), prices, np.array([-INF]), 0, 1.0) == pytest.approx(0.6)
    # At 2 points a wrong one saves 44/32 > 1.
    assert coordinate.best_cut(ten(), prices, np.array([-INF]), 0, 2.0) == INF


def test_coordinate_pays_for_a_head_only_if_it_is_worth_it():
    # One of ten leaves: it saves 22 and the head costs 1 for each of ten.
    samples = ten(1)
    prices = make_costs(2).prices("macs")
    assert coordinate.best_cut(samples, prices, np.array([-INF]), 0, 0.1) == pytest.approx(0.1)
    dear = make_costs(2).prices("macs")
    dear.head[0] = 3e6
    assert coordinate.best_cut(samples, dear, np.array([-INF]), 0, 0.1) == -INF


@settings(max_examples=30)
@given(st.integers(0, 2**16), st.floats(0, 5), st.integers(0, 2))
def test_a_coordinate_step_is_exact(seed, penalty, exit):
    samples = drawn(seed)
    prices = make_costs(4).prices("macs")
    start = np.quantile(samples.uncertainty, 0.4, axis=0)
    best = start.copy()
    best[exit] = coordinate.best_cut(samples, prices, start, exit, penalty)
    tried = start.copy()
    values = []
    for tried[exit] in [-INF, INF, *np.unique(samples.uncertainty)]:
        values.append(coordinate.objective(samples, prices, tried, penalty))
    value = coordinate.objective(samples, prices, best, penalty)
    assert value == pytest.approx(max(values), abs=1e-8)


@settings(max_examples=15)
@given(st.integers(0, 2**16))
def test_the_coordinate_front_is_what_its_policies_give(seed):
    samples, prices = drawn(seed), make_costs(4).prices("macs")
    start = np.quantile(samples.uncertainty, 0.3, axis=0)
    rows, correct, cost = coordinate._variations(samples, prices, start, 1)
    for row, right, price in zip(rows, correct, cost, strict=True):
        exact = evaluate(samples, prices, row)
        assert exact.correct[0] == right
        assert exact.cost[0] == pytest.approx(price)


def test_dynamic_programming_by_hand():
    prices = make_costs(2).prices("macs")
    # The gain of leaving is a step from a saving to a loss; a cubic of the rank crosses zero by it.
    step = Samples(np.arange(100)[:, None] / 100, np.stack([np.arange(100) < 50] * 2, axis=1))
    step.correct[:, 1] = True
    cut = dynamic_programming.solve(step, prices, 0.5)
    assert 0.4 < cut[0] < 0.62
    assert dynamic_programming.solve(step, prices, 20.0) == [INF]


@settings(max_examples=15)
@given(st.integers(0, 2**16), st.integers(2, 5))
def test_the_grid_counts_what_every_policy_gives(seed, size):
    samples, prices = drawn(seed), make_costs(4).prices("macs")
    grid = exact_grid.quantiles(samples, size)
    correct, cost = exact_grid.all_policies(samples, prices, grid)
    for place in product(range(size), repeat=3):
        exact = evaluate(samples, prices, grid[np.arange(3), list(place)])
        assert correct[place] == exact.correct[0]
        assert cost[place] == pytest.approx(exact.cost[0])


def test_the_grid_is_coarser_with_more_exits():
    assert [exact_grid.grid_size(exits) for exits in (2, 6, 8, 11)] == [20, 20, 9, 4]


@pytest.mark.parametrize(("exits", "looked"), [(2, 1), (6, 5), (23, 22), (24, 22), (40, 22)])
def test_of_many_exits_the_grid_looks_at_as_many_as_it_can_hold(exits, looked):
    found = exact_grid.exits_looked_at(exits)
    assert len(found) == looked
    assert (found[0], found[-1]) == (0, exits - 2)
    assert exact_grid.grid_size(looked + 1) ** looked <= exact_grid.MOST_POLICIES


@settings(max_examples=10)
@given(st.integers(0, 2**16))
def test_at_exits_that_the_grid_leaves_out_nobody_leaves(seed):
    samples, prices = drawn(seed), make_costs(4).prices("macs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_grid, "MOST_POLICIES", 4)
        front = exact_grid.exact_front(samples, prices)
    assert (front.thresholds[:, 1] == -INF).all()
    for row, correct, cost in zip(*front.columns, strict=True):
        exact = evaluate(samples, prices, row)
        assert exact.correct[0] == correct
        assert exact.cost[0] == pytest.approx(cost)


@settings(max_examples=10)
@given(st.integers(0, 2**16))
def test_a_dominated_policy_is_never_on_the_front(seed):
    front = exact_grid.exact_front(drawn(seed), make_costs(4).prices("macs"), 6)
    assert (np.diff(front.correct) > 0).all()
    assert (np.diff(front.cost) > 0).all()


@pytest.mark.parametrize("method", SEEKING)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**16))
def test_more_budget_never_gives_less_accuracy(method, seed):
    samples, prices = drawn(seed), make_costs(4).prices("macs")
    budgets = [Target("macs_share", share) for share in (0.3, 0.4, 0.6, 0.8, 1.1)]
    rows = found(method, samples, *budgets)
    points = [evaluate(samples, prices, row) for row in rows]
    correct = [int(point.correct[0]) for point in points]
    assert correct == sorted(correct)
    for budget, point in zip(budgets, points, strict=True):
        assert point.cost[0] <= budget.value * prices.whole * (1 + 1e-9)


@pytest.mark.parametrize("method", EQUIVARIANT)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**16))
def test_thresholds_move_with_a_monotone_transform(method, seed):
    samples = drawn(seed)

    def transform(u):
        return np.exp(3 * u) - 7

    moved = Samples(transform(samples.uncertainty), samples.correct)
    targets = [accuracy(0.5), Target("drop", 0.05)]
    if method != "certified_path":
        targets.append(Target("macs_share", 0.6))
    np.testing.assert_allclose(
        found(method, moved, *targets),
        np.where(
            np.isinf(rows := found(method, samples, *targets)), rows, transform(np.clip(rows, 0, 1))
        ),
    )


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**16))
def test_the_order_of_the_samples_does_not_matter(method, seed):
    """Ties leave together, so no order decides between them."""
    if method == "certified_path":
        pytest.skip("it draws one half of the samples by their places")
    samples = drawn(seed, levels=6)
    shuffled = samples.select(np.random.default_rng(seed).permutation(len(samples)))
    targets = [accuracy(0.6), Target("drop", 0.02)]
    np.testing.assert_allclose(found(method, shuffled, *targets), found(method, samples, *targets))


@pytest.mark.parametrize("method", METHODS)
def test_one_exit_has_nothing_to_find(method):
    samples = Samples(ten().uncertainty[:, :0], ten().correct[:, 1:])
    ((target, thresholds, _),) = find(method, samples, make_costs(1), [accuracy(0.9)])
    assert (target, thresholds.shape) == (accuracy(0.9), (0,))


@pytest.mark.parametrize("method", METHODS)
def test_where_no_policy_is_right_often_enough_nobody_leaves(method):
    if method == "percentile":
        pytest.skip("it takes an accuracy as a wish about each exit")
    samples = Samples(ten().uncertainty, np.zeros((10, 2), bool))
    assert found(method, samples, accuracy(0.99)).tolist() == [[-INF]]


@pytest.mark.parametrize("method", SEEKING)
def test_a_budget_that_nothing_keeps_is_named(method):
    with pytest.raises(InputError, match=r"targets.*10 % of MACs.*cheapest takes.*whole network"):
        found(method, ten(), Target("macs_share", 0.1))


def test_uniform_tries_every_threshold():
    samples = drawn(3)
    every = uniform.every_threshold(samples, make_costs(4).prices("macs"))
    for place in range(0, len(every), 7):
        exact = evaluate(samples, make_costs(4).prices("macs"), every.thresholds[place])
        assert exact.correct[0] == every.correct[place]
        assert exact.cost[0] == pytest.approx(every.cost[place])
