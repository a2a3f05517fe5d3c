"""Smaller networks: what they are, and how they are held against policies."""

import numpy as np
import pytest
import torch

from early_exit import networks
from early_exit.baselines import against_smaller, policies_of_budgets
from early_exit.engine import REFERENCE
from early_exit.errors import InputError
from early_exit.extraction import all_exits
from early_exit.policy import ExitRule, uniform
from early_exit.records import from_logits
from helpers import IDENTITY, SmallNetwork, make_costs, make_records, pictures, sees


def test_a_cut_network_says_what_its_exit_said():
    network = SmallNetwork().eval()
    images = pictures(10)
    whole = all_exits(network, images, 4, REFERENCE)
    for number in (1, 2, 3):
        own = all_exits(networks.cut(network, number), images, 4, REFERENCE)
        np.testing.assert_array_equal(own[:, 0], whole[:, number - 1])


@pytest.mark.parametrize("number", [0, 4])
def test_there_is_no_such_exit(number):
    with pytest.raises(InputError, match=r"has no exit \d to be cut after; its exits are 1 to 3"):
        networks.cut(SmallNetwork(), number)


def test_a_cut_network_comes_back_as_it_was_saved(tmp_path):
    shape = [3, 32, 32]
    own = networks.cut(networks.build("branchynet", 10, shape), 2).eval()
    identity = {"network": "branchynet", "classes": 10, "shape": shape, "cut": 2}
    networks.save(own, tmp_path / "network_2.safetensors", identity)
    again, made_by = networks.load(tmp_path / "network_2.safetensors")
    assert made_by == identity
    images = torch.rand(2, *shape)
    with torch.inference_mode():
        assert torch.equal(own(images), again(images))


def test_the_policies_keep_to_their_budgets():
    records, costs = make_records(samples=300), make_costs()
    found = policies_of_budgets("coordinate", records, costs, sees(), 5)
    whole = costs.prices("ms").whole
    shares = [share for share, _ in found]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for share, policy in found:
        taken = policy.exits_taken(records.uncertainty("entropy"))
        left = np.bincount(taken, minlength=3) / len(records)
        assert costs.predicted_ms(policy, left) <= share * whole * (1 + 1e-9)


def test_a_row_for_each_policy_smaller_network_and_the_whole():
    network, images = SmallNetwork().eval(), pictures(40)
    logits = all_exits(network, images, 8, REFERENCE)
    label = logits[:, 1].argmax(axis=1)  # exit 2 is right on all of them
    label[:4] = np.arange(4)
    records = from_logits(np.arange(40), label, logits, dict(IDENTITY))
    policies = [(0.5, uniform("entropy", ExitRule.BELOW, 0.5, 3))]
    smaller = {number: networks.cut(network, number) for number in (1, 2)}
    table = against_smaller(network, smaller, policies, records, images, make_costs(), REFERENCE)
    assert table.kind.tolist() == ["policy", *["smaller network"] * 2, "whole network"]
    right = records.correct.mean(axis=0)
    assert table.accuracy[1:].tolist() == pytest.approx(right.tolist())
    # Stages of 10, 20, 30 and heads of 1, 2, 3 million.
    assert table.macs[1:].tolist() == [11e6, 32e6, 63e6]
    assert (table.accuracy_low <= table.accuracy).all()
    assert (table.ms_per_sample > 0).all()
