"""Each method by hand, and properties of all methods."""

from importlib import import_module
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from early_exit.calibration.calibrate import find
from early_exit.calibration.methods import (
    accuracy_target,
    coordinate,
    distribution,
    dynamic_programming,
    exact_grid,
    percentile,
    uniform,
)
from early_exit.calibration.targets import Target, evaluate
from early_exit.policy.policy import ExitRule
from early_exit.policy.samples import Samples
from helpers import make_costs
from methods import METHODS

INF = np.inf
# Methods that are equivariant under monotone transforms of the uncertainties.
EQUIVARIANT = [
    "uniform",
    "accuracy_target",
    "distribution",
    "coordinate",
    "dynamic_programming",
    "exact_grid",
    "certified_path",
]
# Methods that maximise accuracy: a larger budget never gives less.
SEEKING = [m for m in METHODS if m not in ("certified", "certified_path")]


def ten(correct_early: int = 6) -> Samples:
    """Ten samples with uncertainties 0.0 to 0.9; exit 1 is correct on the first, exit 2 on all."""
    correct = np.stack([np.arange(10) < correct_early, np.ones(10, bool)], axis=1)
    return Samples(np.arange(10)[:, None] / 10, correct)


def drawn(seed: int, samples: int = 80, exits: int = 4, levels: int = 30) -> Samples:
    """Samples whose accuracy falls with the uncertainty; few levels make ties."""
    rng = np.random.default_rng(seed)
    hardness = rng.random((samples, 1))
    noise = rng.random((samples, exits))
    correct = hardness * (1.2 - np.arange(exits) / exits) < noise
    uncertainty = np.clip(hardness + rng.normal(0, 0.2, (samples, exits)), 0, 1)[:, :-1]
    return Samples(np.round(uncertainty * levels) / levels, correct)


def found(method: str, samples: Samples, *targets: Target) -> np.ndarray:
    module = import_module(f"early_exit.calibration.methods.{method}")
    return module.thresholds(samples, make_costs(samples.exits).in_unit("macs"), targets)


def accuracy(value: float) -> Target:
    return Target("accuracy", value)


# Costs of two exits: stages 10 and 20, heads 1 and 2: 32 without the early head, 33 with it.


def test_percentile_by_hand():
    # The 0.3 quantile of 0.0, 0.1, ... 0.9 lies 0.3 * 9 = 2.7 steps up: 0.27.
    assert percentile.percentiles(ten(), 0.7) == pytest.approx([0.27])
    turned = Samples(-ten().uncertainty, ten().correct, ExitRule.ABOVE)
    assert percentile.percentiles(turned, 0.7) == pytest.approx([-0.27])


def test_percentile_lets_all_samples_exit_above_the_target():
    assert percentile.percentiles(ten(), 0.59) == [INF]
    # An equal accuracy is not above.
    assert np.isfinite(percentile.percentiles(ten(), 0.6)).all()


@pytest.mark.parametrize(
    ("target", "expected"),
    # Below 0.6 the six correct samples exit, below 0.7 also a wrong one, and so on.
    [(1.0, 0.6), (0.95, 0.6), (0.9, 0.7), (0.7, 0.9), (0.6, INF)],
)
def test_uniform_by_hand(target, expected):
    assert found("uniform", ten(), accuracy(target))[0] == pytest.approx([expected])


def test_accuracy_target_by_hand():
    # Of the samples that exit, 6 of 7 are correct at 0.85, 6 of 6 at 1.
    assert accuracy_target.cuts(ten(), 6 / 7) == pytest.approx([0.7])
    assert accuracy_target.cuts(ten(), 1.0) == pytest.approx([0.6])
    assert accuracy_target.cuts(ten(), 0.6) == [INF]
    assert accuracy_target.cuts(ten(0), 0.5) == [-INF]


def test_accuracy_target_counts_only_samples_that_reach_the_exit():
    # Two samples exit at exit 1; of the others, exit 2 is correct on the first only.
    uncertainty = np.array([[0.1, 0.1], [0.2, 0.9], [0.8, 0.3], [0.9, 0.4]])
    correct = np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 0, 1]], bool)
    assert accuracy_target.cuts(Samples(uncertainty, correct), 1.0) == pytest.approx([0.8, 0.4])


def test_distribution_by_hand():
    # At ratio 1 five of ten exit at exit 1, at ratio 1/4 eight, at ratio 4 two.
    shares = {1.0: 0.5, 0.25: 0.8, 4.0: 0.2}
    for ratio, threshold in shares.items():
        assert distribution.geometric(ten(), ratio) == pytest.approx([threshold])


def test_distribution_with_fewer_samples_than_should_exit():
    # All samples are tied and exit at exit 1; none reach exit 2.
    samples = Samples(np.zeros((6, 2)), np.ones((6, 3), bool))
    assert distribution.geometric(samples, 1.0).tolist() == [INF, -INF]


def test_coordinate_by_hand():
    costs = make_costs(2).in_unit("macs")
    # Exiting early saves 22 of 32; the head costs 1 for all ten. At penalty 0 nothing is gained.
    assert coordinate.best_cut(ten(), costs, np.array([-INF]), 0, 0.0) == -INF
    # At penalty 1, six correct samples save 6 * 22/32 and cost 10 * 1/32; each wrong one saves
    # 22/32 and loses 1.
    assert coordinate.best_cut(ten(), costs, np.array([-INF]), 0, 1.0) == pytest.approx(0.6)
    # At penalty 2 a wrong sample saves 44/32 > 1.
    assert coordinate.best_cut(ten(), costs, np.array([-INF]), 0, 2.0) == INF


def test_coordinate_runs_a_head_only_if_it_gains():
    # One of ten exits: it saves 22, and the head costs 1 for each of ten.
    samples = ten(1)
    costs = make_costs(2).in_unit("macs")
    assert coordinate.best_cut(samples, costs, np.array([-INF]), 0, 0.1) == pytest.approx(0.1)
    costly = make_costs(2).in_unit("macs")
    costly.head[0] = 3e6
    assert coordinate.best_cut(samples, costly, np.array([-INF]), 0, 0.1) == -INF


@settings(max_examples=30)
@given(st.integers(0, 2**16), st.floats(0, 5), st.integers(0, 2))
def test_a_coordinate_step_is_exact(seed, penalty, exit):
    samples = drawn(seed)
    costs = make_costs(4).in_unit("macs")
    start = np.quantile(samples.uncertainty, 0.4, axis=0)
    best = start.copy()
    best[exit] = coordinate.best_cut(samples, costs, start, exit, penalty)
    tried = start.copy()
    values = []
    for tried[exit] in [-INF, INF, *np.unique(samples.uncertainty)]:
        values.append(coordinate.objective(samples, costs, tried, penalty))
    value = coordinate.objective(samples, costs, best, penalty)
    assert value == pytest.approx(max(values), abs=1e-8)


@settings(max_examples=15)
@given(st.integers(0, 2**16))
def test_the_coordinate_front_matches_the_evaluation_of_its_policies(seed):
    samples, costs = drawn(seed), make_costs(4).in_unit("macs")
    start = np.quantile(samples.uncertainty, 0.3, axis=0)
    rows, correct, cost = coordinate._variations(samples, costs, start, 1)
    for row, count, spent in zip(rows, correct, cost, strict=True):
        exact = evaluate(samples, costs, row)
        assert exact.correct[0] == count
        assert exact.cost[0] == pytest.approx(spent)


def test_dynamic_programming_by_hand():
    costs = make_costs(2).in_unit("macs")
    # The gain is a step from a saving to a loss; its cubic fit crosses zero near the step.
    step = Samples(np.arange(100)[:, None] / 100, np.stack([np.arange(100) < 50] * 2, axis=1))
    step.correct[:, 1] = True
    cut = dynamic_programming.solve(step, costs, 0.5)
    assert 0.4 < cut[0] < 0.62
    assert dynamic_programming.solve(step, costs, 20.0) == [INF]


@settings(max_examples=15)
@given(st.integers(0, 2**16), st.integers(2, 5))
def test_the_grid_counts_match_the_evaluation_of_its_policies(seed, size):
    samples, costs = drawn(seed), make_costs(4).in_unit("macs")
    grid = exact_grid.quantiles(samples, size)
    counted = exact_grid.all_policies(samples, costs, grid)
    for index in product(range(size), repeat=3):
        thresholds = grid[np.arange(3), list(index)]
        exact = evaluate(samples, costs, thresholds)
        assert counted.correct[index] == exact.correct[0]
        assert counted.cost[index] == pytest.approx(exact.cost[0])
        shares = np.bincount(samples.taken(thresholds), minlength=4) / len(samples)
        np.testing.assert_allclose(counted.exit_shares(np.array([index]))[0], shares)


def test_the_grid_is_coarser_with_more_exits():
    assert [exact_grid.grid_size(exits) for exits in (2, 6, 7, 8, 40)] == [20, 20, 14, 14, 14]


@pytest.mark.parametrize(("exits", "looked"), [(2, 1), (6, 5), (7, 6), (8, 6), (40, 6)])
def test_the_grid_covers_at_most_six_exits(exits, looked):
    found = exact_grid.exits_looked_at(exits)
    assert len(found) == looked
    assert (found[0], found[-1]) == (0, exits - 2)
    assert exact_grid.grid_size(looked + 1) ** looked <= exact_grid.MOST_POLICIES


@pytest.mark.parametrize("unit", ["macs", "ms"])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**16))
def test_no_sample_exits_at_exits_without_a_grid(unit, seed):
    samples, costs = drawn(seed), make_costs(4).in_unit(unit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_grid, "MOST_EXITS", 2)
        front = exact_grid.exact_front(samples, costs, 4)
    assert (front.thresholds[:, 1] == -INF).all()
    for row, correct, cost in zip(*front.columns, strict=True):
        exact = evaluate(samples, costs, row)
        assert exact.correct[0] == correct
        assert exact.cost[0] == pytest.approx(cost)


@settings(max_examples=10)
@given(st.integers(0, 2**16))
def test_the_front_has_no_dominated_policy(seed):
    front = exact_grid.exact_front(drawn(seed), make_costs(4).in_unit("macs"), 6)
    assert (np.diff(front.correct) > 0).all()
    assert (np.diff(front.cost) > 0).all()


@pytest.mark.parametrize("method", SEEKING)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**16))
def test_a_larger_budget_never_gives_less_accuracy(method, seed):
    samples, costs = drawn(seed), make_costs(4).in_unit("macs")
    budgets = [Target("macs_share", share) for share in (0.3, 0.4, 0.6, 0.8, 1.1)]
    rows = found(method, samples, *budgets)
    points = [evaluate(samples, costs, row) for row in rows]
    correct = [int(point.correct[0]) for point in points]
    assert correct == sorted(correct)
    for budget, point in zip(budgets, points, strict=True):
        assert point.cost[0] <= budget.value * costs.full_network * (1 + 1e-9)


@pytest.mark.parametrize("method", EQUIVARIANT)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**16))
def test_thresholds_are_equivariant_under_monotone_transforms(method, seed):
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
    """Tied samples exit together."""
    if method == "certified_path":
        pytest.skip("it draws one half of the samples by index")
    samples = drawn(seed, levels=6)
    shuffled = samples.select(np.random.default_rng(seed).permutation(len(samples)))
    targets = [accuracy(0.6), Target("drop", 0.02)]
    np.testing.assert_allclose(found(method, shuffled, *targets), found(method, samples, *targets))


@pytest.mark.parametrize("method", METHODS)
def test_one_exit_has_nothing_to_find(method):
    samples = Samples(ten().uncertainty[:, :0], ten().correct[:, 1:])
    ((target, thresholds, _),) = find(method, samples, make_costs(1), [accuracy(0.9)])
    assert (target, thresholds.shape) == (accuracy(0.9), (0,))
    ((_, thresholds, _),) = find(method, samples, make_costs(1), [Target("macs_share", 0.5)])
    assert thresholds is None


@pytest.mark.parametrize("method", METHODS)
def test_no_sample_exits_early_if_no_policy_is_accurate_enough(method):
    if method == "percentile":
        pytest.skip("it applies an accuracy to each exit")
    samples = Samples(ten().uncertainty, np.zeros((10, 2), bool))
    assert found(method, samples, accuracy(0.99)).tolist() == [[-INF]]


@pytest.mark.parametrize("method", SEEKING)
def test_a_budget_that_no_policy_meets_has_no_thresholds(method):
    targets = [Target("macs_share", 0.1), Target("macs_share", 0.9)]
    rows = find(method, ten(), make_costs(2), targets)
    assert [thresholds is None for _, thresholds, _ in rows] == [True, False]


def test_uniform_tries_every_threshold():
    samples = drawn(3)
    every = uniform.every_threshold(samples, make_costs(4).in_unit("macs"))
    for index in range(0, len(every), 7):
        exact = evaluate(samples, make_costs(4).in_unit("macs"), every.thresholds[index])
        assert exact.correct[0] == every.correct[index]
        assert exact.cost[0] == pytest.approx(every.cost[index])
