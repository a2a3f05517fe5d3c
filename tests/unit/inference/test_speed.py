from dataclasses import replace

import numpy as np
import pytest
import torch

from early_exit.inference import speed
from early_exit.inference.engine import REFERENCE, Engine
from early_exit.inference.exits import all_exits
from early_exit.inference.speed import (
    policies_across,
    predicted_against_measured,
    speed_table,
    time_as_published,
)
from early_exit.policy.costs import CostModel, break_even
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.operating_point import simulate
from early_exit.policy.policy import Policy, full_network, uniform
from early_exit.records.table import from_logits
from helpers import SmallNetwork, make_costs, make_records, random_images

POLICY = uniform(ExitCriterion(), 0.6, 3)


def flat_costs() -> CostModel:
    """Stages of 1 ms, heads of 0.1 ms, an overhead of 0.1 ms, in batches of any size."""
    ones = np.ones((1, 3))
    return CostModel(ones[0], ones[0], np.array([1.0]), ones, 0.1 * ones, 0.1 * ones, 1)


def test_break_even_by_hand():
    # Full network: 3 stages and the final head with its decision, 3.2 ms. Without early exits
    # a policy costs two heads and decisions more, 0.4 ms. A sample that exits at exit 1 saves
    # two stages, two heads and two decisions, 2.4 ms: it pays from 0.4 / 2.4 on.
    found = break_even(flat_costs(), POLICY.heads_run, np.array([0.3, 0.0, 0.7]), 1)
    assert found == pytest.approx(0.4 / 2.4, abs=1e-3)
    # At exit 2 it saves one of each, 1.2 ms.
    found = break_even(flat_costs(), POLICY.heads_run, np.array([0.0, 0.3, 0.7]), 1)
    assert found == pytest.approx(0.4 / 1.2, abs=1e-3)


def test_break_even_is_none_if_a_policy_never_pays():
    dear = flat_costs()
    dear = CostModel(*([*vars(dear).values()][:4]), 5 * dear.head_ms, 10 * dear.overhead_ms, 1)
    assert break_even(dear, POLICY.heads_run, np.array([0.0, 0.3, 0.7]), 1) is None
    whole = full_network(ExitCriterion(), 3)
    assert break_even(flat_costs(), whole.heads_run, np.array([0.0, 0.0, 1.0]), 1) is None


def test_the_table_has_a_row_for_each_precision_and_size():
    networks = {precision: SmallNetwork().eval() for precision in ("fp32", "bf16")}
    images, labels = random_images(40), np.arange(40) % 4
    checked = []

    def check(run, engine, size):
        checked.append((len(run.exit), engine.precision, size))

    costs = make_costs()
    table = speed_table(networks, POLICY, images, labels, costs, [1, 8], 16, REFERENCE, check)
    assert checked == [(40, "fp32", 128), (40, "bf16", 128)]
    assert table[["precision", "batch_size"]].to_numpy().tolist() == [
        [precision, size] for precision in ("fp32", "bf16") for size in (1, 8)
    ]
    assert np.allclose(table.speedup, table.full_network / table.dynamic)
    assert np.allclose(table.overhead, table.dynamic / table.ideal)
    assert table.accuracy.between(0, 1).all()


def test_policies_cover_the_range_of_early_exits():
    records = make_records(samples=400)
    for rule in ExitRule:
        policies = policies_across(records, ExitCriterion(rule=rule), 20)
        stay = [(policy.exits_taken(records.uncertainty) == 2).mean() for policy in policies]
        assert len(policies) == 20
        assert max(stay) > 0.8
        assert min(stay) < 0.1


def test_predicted_and_measured_times():
    network, images = SmallNetwork().eval(), random_images(64)
    logits = all_exits(network, images, 64, REFERENCE)
    records = from_logits(np.arange(64), np.arange(64) % 4, logits, {})
    policies = [POLICY, Policy(ExitCriterion(), (np.inf, np.inf))]
    table = predicted_against_measured(
        network, policies, records, images, make_costs(), 32, REFERENCE
    )
    assert (table.measured > 0).all()
    assert table.early.iloc[1] == 1
    # All samples exit at exit 1: one stage and one head of `make_costs`.
    assert table.predicted.iloc[1] == pytest.approx(1.1)
    assert np.allclose(table.error, table.predicted / table.measured - 1)


def test_predicted_and_measured_images_are_the_same(monkeypatch):
    """The same images, from all over the split: the first ones may be all of one class."""
    network, images = SmallNetwork().eval(), random_images(64)
    logits = all_exits(network, images, 64, REFERENCE)
    records = from_logits(np.arange(64), np.sort(np.arange(64) % 4), logits, {})
    seen = []

    def time_ways(ways, batches, rounds, engine):
        seen.extend(batches)
        return np.ones(len(ways))

    def simulated(policy, records, costs):
        seen.append(records)
        return simulate(policy, records, costs)

    monkeypatch.setattr(speed, "time_ways", time_ways)
    monkeypatch.setattr(speed, "simulate", simulated)
    predicted_against_measured(network, [POLICY], records, images, make_costs(), 32, REFERENCE)
    *batches, taken = seen
    assert [len(batch) for batch in batches] == [8] * 4
    assert torch.equal(torch.cat(batches), REFERENCE.prepare(images[taken.index]))
    assert np.array_equal(taken.logits, logits[taken.index])
    assert np.array_equal(taken.label, records.label[taken.index])
    assert np.array_equal(taken.uncertainty, records.uncertainty[taken.index])
    assert set(taken.label) == {0, 1, 2, 3}
    assert (taken.index[0], taken.index[-1]) == (0, 63)


@pytest.mark.parametrize(("regroup", "waits"), [(True, [1, 8, 64]), (False, [0, 0, 0])])
def test_the_break_even_share_uses_the_timed_regrouping(monkeypatch, regroup, waits):
    found = []
    monkeypatch.setattr(speed, "break_even", lambda costs, *_: found.append(costs.regroup))
    networks, sizes = {"fp32": SmallNetwork().eval()}, [1, 8, 128]
    images, labels = random_images(40), np.arange(40) % 4
    costs = replace(make_costs(), regroup=32)
    speed_table(networks, POLICY, images, labels, costs, sizes, 16, REFERENCE, print, regroup)
    assert found == waits


def test_as_published_is_on_the_policys_own_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    scaled = {"mean": (0.5,), "std": (0.2,)}
    found = speed._as_published(Engine("cuda", "bf16", **scaled))
    assert found == Engine("cuda", "fp32", "contiguous", **scaled)


def test_the_plain_network_takes_its_turn():
    published, ours = time_as_published(
        SmallNetwork(), SmallNetwork(), POLICY, random_images(300), 32, REFERENCE
    )
    assert published > 0
    assert ours > 0
