"""The bound: no policy is above it, and run to the end it is the optimum."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import many_exits
from early_exit.calibration.bound import bound
from early_exit.calibration.decomposition import TEMPERATURES, Decomposition, least_costs
from early_exit.calibration.methods import coordinate
from early_exit.calibration.targets import Target, evaluate, pick
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples
from helpers import make_costs

INF = np.inf


def tiny(seed: int, samples: int = 24) -> Samples:
    """Four exits and three uncertainties: 64 policies in all."""
    rng = np.random.default_rng(seed)
    return Samples(rng.integers(0, 3, (samples, 3)) / 4 + 0.1, rng.random((samples, 4)) < 0.5)


def every_policy(samples: Samples, costs: UnitCosts):
    rows = product([-INF, 0.2, 0.5, INF], repeat=samples.exits - 1)
    return evaluate(samples, costs, np.array(list(rows)))


def batched(exits: int, seed: int = 0) -> UnitCosts:
    """Times that depend on the size of batches, some of them less in smaller ones."""
    model = many_exits.costs_of(exits, seed)
    rng = np.random.default_rng(seed)
    uneven = model.stage_ms * rng.uniform(0.7, 1.3, model.stage_ms.shape)
    return replace(model, stage_ms=uneven, batch_size=100).in_unit("ms")


def optimum(samples: Samples, costs: UnitCosts, target: Target) -> float:
    every = every_policy(samples, costs)
    row = pick(every, samples, costs, target)
    if np.isnan(row).any():
        return np.nan
    best = evaluate(samples, costs, row)
    own = best.cost / costs.full_network if target.is_quality else best.correct / len(samples)
    return float(own[0])


@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**16),
    unit=st.sampled_from(["macs", "ms"]),
    share=st.floats(0.05, 1.0),
    nodes=st.sampled_from([1, 5]),
)
def test_no_policy_within_a_budget_is_above_the_bound(seed, unit, share, nodes):
    samples = tiny(seed)
    costs = batched(4, seed) if unit == "ms" else make_costs(4).in_unit("macs")
    target = Target(f"{unit}_share", share)
    found = bound(samples, costs, target, nodes=nodes, steps=15)
    best = optimum(samples, costs, target)
    if not np.isnan(best):
        assert best - 1e-9 <= found.limit <= found.oracle + 1e-9


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), worse=st.integers(0, 8), unit=st.sampled_from(["macs", "ms"]))
def test_no_policy_that_is_accurate_enough_is_below_the_bound(seed, worse, unit):
    samples = tiny(seed)
    costs = batched(4, seed) if unit == "ms" else make_costs(4).in_unit("macs")
    most = every_policy(samples, costs).correct.max()
    target = Target("accuracy", (most - worse) / len(samples))
    found = bound(samples, costs, target, nodes=3, steps=15)
    assert found.oracle - 1e-9 <= found.limit <= optimum(samples, costs, target) + 1e-9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("target", [Target("macs_share", 0.3), Target("drop", 0.0)])
def test_run_to_the_end_the_bound_is_the_optimum(seed, target):
    samples, costs = tiny(seed), make_costs(4).in_unit("macs")
    found = bound(samples, costs, target, nodes=500, steps=20)
    assert found.nodes < 500
    assert found.limit == pytest.approx(optimum(samples, costs, target), abs=1e-6)


def test_an_unreachable_budget_has_no_bound():
    samples, costs = tiny(0), make_costs(4).in_unit("macs")
    found = bound(samples, costs, Target("macs_share", 0.01), nodes=500, steps=20)
    assert np.isnan(found.limit) and found.nodes < 500


def test_known_thresholds_give_a_gap_and_more_nodes_a_smaller_one():
    samples = many_exits.drawn(3, count=800)
    costs, target = many_exits.costs_of(3).in_unit("macs"), Target("macs_share", 0.25)
    known = coordinate.thresholds(samples, costs, [target])[0]
    gaps = [bound(samples, costs, target, known, nodes=nodes).gap for nodes in (1, 25)]
    assert 0 <= gaps[1] < gaps[0] / 2 < 0.015


def test_every_point_of_the_dual_is_a_bound_for_all_policies():
    """Whatever the multipliers: random ones, and in a box."""
    samples, costs = tiny(3), make_costs(4).in_unit("macs")
    dual, every = Decomposition(samples, costs), every_policy(samples, costs)
    rng = np.random.default_rng(0)
    for scale in (0.0, 0.1, 1.0):
        point = dual.start(0.2) + scale * rng.normal(size=dual.start(0.2).shape)
        base, slope = dual.cut(dual.whole(), point)
        limits = base + slope * every.cost / costs.full_network
        assert (every.correct / len(samples) <= limits + 1e-9).all()


def test_the_gradient_of_the_smooth_dual():
    samples, costs = tiny(5), make_costs(4).in_unit("macs")
    dual, box = Decomposition(samples, costs), Decomposition(samples, costs).whole()
    rng = np.random.default_rng(0)
    point = dual.start(0.2) + 0.1 * rng.normal(size=dual.start(0.2).shape)
    value, gradient = dual._smooth(box, point, 0.4, TEMPERATURES[0])
    for index in [0, 17, 80, len(point) - 1]:
        step = np.zeros(len(point))
        step[index] = 1e-5
        moved, _ = dual._smooth(box, point + step, 0.4, TEMPERATURES[0])
        back, _ = dual._smooth(box, point - step, 0.4, TEMPERATURES[0])
        assert (moved - back) / 2e-5 == pytest.approx(gradient[index], abs=1e-4)
        assert value < max(moved, back) + 1e-12


def test_no_policy_takes_less_time_than_the_least_costs():
    samples, costs = tiny(1), batched(4, seed=2)
    stage, head = least_costs(costs)
    every = every_policy(samples, costs)
    for row, cost in zip(every.thresholds, every.cost, strict=True):
        shares = samples.counted(row)[1] / len(samples)
        least = shares @ np.cumsum(stage + head * np.append(row > -INF, True))
        assert least <= cost / costs.full_network + 1e-12
