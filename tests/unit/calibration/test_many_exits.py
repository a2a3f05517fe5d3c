"""Many exits, where coordinate descent alone is not enough: local search and the grid."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

import many_exits
from early_exit.analysis import study
from early_exit.calibration import local_search
from early_exit.calibration.levels import Levels
from early_exit.calibration.methods import coordinate, dynamic_programming, exact_grid
from early_exit.calibration.moves import Moves, State
from early_exit.calibration.targets import Target, evaluate, pick
from early_exit.figures import frontier
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples
from helpers import make_costs

INF = np.inf
BUDGETS = [Target("macs_share", share) for share in (0.1, 0.2, 0.3, 0.45, 0.6, 0.8)]


def sensor(exits: int, samples: int = 800, seed: int = 0, levels: int = 500) -> Samples:
    """Exits whose accuracy rises slowly, every third one redundant, with correlated errors."""
    rng = np.random.default_rng(seed)
    hardness = rng.normal(size=(samples, 1))
    walk = np.cumsum(rng.normal(0, 0.35, (samples, exits)), axis=1)
    skill = 1.8 * np.sqrt(np.arange(1, exits + 1) / exits) - 0.25 * (np.arange(exits) % 3 == 1)
    strength = skill - 0.8 * hardness + walk
    correct = strength + rng.normal(0, 0.6, (samples, exits)) > 0.4
    uncertainty = 1 / (1 + np.exp(2 * np.abs(strength) + rng.normal(0, 0.5, (samples, exits))))
    return Samples(np.round(uncertainty[:, :-1] * levels) / levels, correct)


def tiny(seed: int) -> Samples:
    """Eight exits and 30 samples of three uncertainties: 16,384 policies in all."""
    rng = np.random.default_rng(seed)
    return Samples(rng.integers(0, 3, (30, 7)) / 4 + 0.1, rng.random((30, 8)) < 0.5)


def every_policy(samples: Samples) -> np.ndarray:
    return np.array(list(product([-INF, 0.2, 0.5, INF], repeat=samples.exits - 1)))


def costs_in(unit: str, exits: int) -> UnitCosts:
    return many_exits.costs_of(exits).in_unit(unit)


def accuracy(samples: Samples, thresholds: np.ndarray) -> float:
    return float(samples.right(samples.taken(thresholds)).mean())


@pytest.mark.parametrize("seed", range(4))
def test_the_search_finds_the_best_of_all_policies(seed):
    """With three distinct uncertainties, all policies can be evaluated."""
    samples, costs = tiny(seed), make_costs(8).in_unit("macs")
    best = evaluate(samples, costs, every_policy(samples))
    targets = [Target("macs_share", s) for s in (0.2, 0.4, 0.7)]
    targets.append(Target("accuracy", (best.correct.max() - 2) / len(samples)))
    for target, row in zip(targets, coordinate.thresholds(samples, costs, targets), strict=True):
        optimum = evaluate(samples, costs, pick(best, samples, costs, target))
        own = evaluate(samples, costs, row)
        if target.is_quality:
            assert own.correct[0] >= target.least_correct(samples)
            assert own.cost[0] == pytest.approx(optimum.cost[0])
        else:
            assert own.cost[0] <= target.most_cost(costs) * (1 + 1e-9)
            assert own.correct[0] == optimum.correct[0]


def test_without_the_search_coordinate_descent_is_worse(monkeypatch):
    """Shows that the test above can fail."""
    monkeypatch.setattr(coordinate, "FEW_EXITS", 99)
    worse = 0
    for seed in range(4):
        samples, costs = tiny(seed), make_costs(8).in_unit("macs")
        best = evaluate(samples, costs, every_policy(samples))
        targets = [Target("macs_share", s) for s in (0.2, 0.4, 0.7)]
        rows = coordinate.thresholds(samples, costs, targets)
        optimum = [pick(best, samples, costs, target) for target in targets]
        pairs = zip(rows, optimum, strict=True)
        worse += sum(accuracy(samples, a) < accuracy(samples, b) for a, b in pairs)
    assert worse > 0


@pytest.mark.thorough
@pytest.mark.parametrize(("exits", "kind"), [(13, "smooth"), (17, "tied")])
def test_no_other_method_and_no_longer_search_is_much_better(exits, kind):
    """At every budget, within 0.2 points of several times the random changes, of another seed."""
    samples, costs = many_exits.drawn(exits, kind, count=1000), costs_in("macs", exits)
    targets = [Target("macs_share", share) for share in many_exits.BUDGETS]
    rows = coordinate.thresholds(samples, costs, targets)
    more = local_search.search(samples, costs, targets, rows, kicks=70, seed=1)
    longer = evaluate(samples, costs, more)
    for target, row in zip(targets, rows, strict=True):
        other = pick(longer, samples, costs, target)
        assert accuracy(samples, row) >= accuracy(samples, other) - 0.002
        assert evaluate(samples, costs, row).cost[0] <= target.most_cost(costs) * (1 + 1e-9)
    for method in (dynamic_programming, exact_grid):
        others = method.thresholds(samples, costs, targets)
        for own, other in zip(rows, others, strict=True):
            assert accuracy(samples, own) >= accuracy(samples, other)


@pytest.mark.thorough
def test_a_slow_independent_search_is_not_much_better():
    model, samples = many_exits.costs_of(13), many_exits.drawn(13, count=1000)
    target = Target("macs_share", 0.25)
    row = coordinate.thresholds(samples, model.in_unit("macs"), [target])[0]
    other, reached = many_exits.Reference(samples, model, target.value).search(8)
    assert accuracy(samples, other) == reached
    assert accuracy(samples, row) >= reached - 0.002


@pytest.mark.parametrize("unit", ["macs", "ms"])
def test_lines_and_pairs_match_the_evaluation_of_their_policies(unit):
    """Also in milliseconds, where batches shrink as samples exit."""
    samples, costs = many_exits.drawn(9, "tied", count=300), costs_in(unit, 9)
    moves = Moves(samples, costs, Levels.spread(samples, 12))
    rng = np.random.default_rng(0)

    def check(cuts, accuracy, cost):
        exact = evaluate(samples, costs, moves.levels.thresholds(cuts))
        assert accuracy == pytest.approx(exact.correct[0] / len(samples))
        assert cost == pytest.approx(exact.cost[0] / costs.full_network)

    for _ in range(4):
        cuts = rng.integers(0, moves.counts) * (rng.random(8) < 0.6)
        state = State(moves, cuts)
        few = [moves.choices(k, cut) for k, cut in enumerate(cuts)]
        for first in range(8):
            right, spent = moves.line(state, first)
            for cut in rng.integers(0, len(right), 2):
                tried = cuts.copy()
                tried[first] = cut
                check(tried, right[cut], spent[cut])
            for second, right, spent in moves.pairs(state, first, few):
                place = tuple(rng.integers(0, right.shape))
                tried = cuts.copy()
                tried[first], tried[second] = few[first][0][place[0]], few[second][0][place[1]]
                check(tried, right[place], spent[place])


def test_levels_keep_the_thresholds_around_which_they_are():
    samples = sensor(9, samples=200)
    start = np.quantile(samples.uncertainty, 0.3, axis=0, method="higher")
    start[[2, 5]] = -INF, INF
    levels = Levels.around(samples, start, 10, 1)
    np.testing.assert_array_equal(levels.thresholds(levels.cuts(start)), start)
    codes, cuts = levels.codes(samples), levels.cuts(start)
    np.testing.assert_array_equal(codes < cuts[:, None], start[:, None] > samples.uncertainty.T)


def test_no_move_makes_a_policy_worse():
    samples, costs = sensor(9), costs_in("macs", 9)
    moves = Moves(samples, costs, Levels.spread(samples, 20))
    goal = local_search.most_accurate(0.4)
    rng = np.random.default_rng(0)
    for _ in range(5):
        cuts = rng.integers(0, moves.counts)
        rank = moves.rank(cuts, goal)
        for move in (moves.swept, moves.paired):
            found, other = move(cuts, goal)
            assert other == pytest.approx(moves.rank(found, goal))
            assert other >= rank - 1e-12


@pytest.mark.parametrize("unit", ["macs", "ms"])
def test_the_same_samples_give_the_same_thresholds(unit):
    samples, costs = sensor(8, samples=300), costs_in(unit, 8)
    targets = [Target(f"{unit}_share", 0.4), Target("drop", 0.01)]
    first, again = (coordinate.thresholds(samples, costs, targets) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("unit", ["macs", "ms"])
def test_large_sets_are_searched_on_a_subset(monkeypatch, unit):
    """The result meets the budget on all samples."""
    for name, count in (("MOST_SAMPLES", 300), ("MOST_PAIRED", 500)):
        monkeypatch.setattr(local_search, name, count)
    samples, costs = sensor(9, samples=1200), costs_in(unit, 9)
    targets = [Target(f"{unit}_share", share) for share in (0.3, 0.6)]
    rows = coordinate.thresholds(samples, costs, targets)
    assert len(samples.subset(300)) == 300
    for target, row in zip(targets, rows, strict=True):
        assert evaluate(samples, costs, row).cost[0] <= target.most_cost(costs) * (1 + 1e-9)


def test_in_milliseconds_the_search_beats_plain_coordinate_descent(monkeypatch):
    samples, costs = many_exits.drawn(9, count=500), costs_in("ms", 9)
    targets = [Target("ms_share", share) for share in (0.2, 0.4)]
    rows = coordinate.thresholds(samples, costs, targets)
    monkeypatch.setattr(coordinate, "FEW_EXITS", 99)
    plain = coordinate.thresholds(samples, costs, targets)
    gains = [accuracy(samples, a) - accuracy(samples, b) for a, b in zip(rows, plain, strict=True)]
    assert min(gains) >= 0 and max(gains) > 0


def test_there_is_no_local_search_up_to_six_exits(monkeypatch):
    monkeypatch.setattr(local_search, "search", None)
    coordinate.thresholds(sensor(6), make_costs(6).in_unit("macs"), BUDGETS[3:])


@pytest.mark.parametrize("exits", [13, 17, 40])
def test_the_grid_is_usable_with_many_exits(exits):
    """Two values for each of 16 exits gave an accuracy of 36.4 %, where 56.2 % are possible."""
    samples, costs = sensor(exits), make_costs(exits).in_unit("macs")
    rows = exact_grid.thresholds(samples, costs, BUDGETS)
    better = dynamic_programming.thresholds(samples, costs, BUDGETS)
    for own, other in zip(rows, better, strict=True):
        assert accuracy(samples, own) > accuracy(samples, other) - 0.05


def test_exits_that_are_used_make_the_better_grid():
    """The grid of evenly spaced exits is never better, and here it is worse."""
    samples, costs = many_exits.drawn(17, count=1500), costs_in("macs", 17)
    even = exact_grid.exact_front(samples, costs)
    assert len(exact_grid.exits_used(samples, costs)) == exact_grid.MOST_EXITS
    targets = [Target("macs_share", share) for share in (0.05, 0.1, 0.25)]
    rows = exact_grid.thresholds(samples, costs, targets)
    gains = []
    for row, target in zip(rows, targets, strict=True):
        gains.append(accuracy(samples, row))
        gains[-1] -= accuracy(samples, pick(even, samples, costs, target))
    assert min(gains) >= 0 and max(gains) > 0.02


@pytest.mark.parametrize("method", [coordinate, dynamic_programming])
@pytest.mark.parametrize("unit", ["macs", "ms"])
def test_joint_methods_fit_on_some_samples_and_evaluate_on_all(monkeypatch, method, unit):
    samples, costs = many_exits.drawn(5, count=1500), costs_in(unit, 5)
    targets = [Target(f"{unit}_share", share) for share in (0.25, 0.5)] + [Target("drop", 0.01)]
    whole = method.thresholds(samples, costs, targets)
    monkeypatch.setattr(method, "MOST_FITTED", 600)
    rows = method.thresholds(samples, costs, targets)
    for row, other, target in zip(rows, whole, targets, strict=True):
        result = evaluate(samples, costs, row)
        if target.is_quality:
            assert result.correct[0] >= target.least_correct(samples)
        else:
            assert result.cost[0] <= target.most_cost(costs) * (1 + 1e-9)
            assert accuracy(samples, row) > accuracy(samples, other) - 0.02


def test_times_of_the_grid_are_counted_not_simulated(monkeypatch):
    samples, costs = sensor(5), make_costs(5).in_unit("ms")

    def simulated(*_):
        raise AssertionError("a policy of the grid was simulated")

    monkeypatch.setattr(Samples, "taken", simulated)
    assert len(exact_grid.exact_front(samples, costs)) > 10


def frontier_table(**means: float) -> pd.DataFrame:
    rows = [
        {"method": name, "target_kind": "macs_share", "target": t, "calibration_accuracy": mean}
        for name, mean in means.items()
        for t in (0.2, 0.5)
    ]
    return pd.DataFrame(rows)


def test_a_grid_that_is_worse_is_not_the_reference():
    close = frontier_table(coordinate=0.801, exact_grid=0.800, uniform=0.7)
    assert frontier.methods(close)[0] == "exact_grid"
    coarse = frontier_table(uniform=0.7, exact_grid=0.5, coordinate=0.56)
    assert frontier.methods(coarse)[0] == "uniform"


def test_the_optimality_gap_for_budgets_is_to_the_best_method():
    rows = [
        {"measure": "entropy", "scaled": False, "target_kind": kind, "target": 0.5, "split": 0,
         "method": method, "accuracy": 0.6, "cost": 0.5, "calibration_accuracy": own,
         "missed": False, "seconds": 1.0}
        for kind in ("macs_share", "drop")
        for method, own in (("exact_grid", 0.36), ("coordinate", 0.56), ("uniform", 0.40))
    ]  # fmt: skip
    gaps = study.summarise(pd.DataFrame(rows)).set_index(["target_kind", "method"]).optimality_gap
    assert gaps["macs_share", "exact_grid"] == pytest.approx(0.20)
    assert gaps["macs_share", "coordinate"] == 0
    assert gaps["drop", "coordinate"] == pytest.approx(-0.20)
