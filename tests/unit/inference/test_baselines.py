"""Smaller networks, and their comparison with policies."""

import numpy as np
import pytest
import torch

from early_exit.errors import InputError
from early_exit.inference.baselines import against_smaller, policies_of_budgets
from early_exit.inference.engine import REFERENCE
from early_exit.inference.exits import all_exits
from early_exit.networks.build import build_network, cut_network
from early_exit.networks.checkpoint import load_network, save_network
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import uniform
from early_exit.records.table import from_logits
from helpers import PROVENANCE, SmallNetwork, make_costs, make_records, random_images


def test_a_cut_network_equals_its_exit_in_the_full_network():
    network = SmallNetwork().eval()
    images = random_images(10)
    full = all_exits(network, images, 4, REFERENCE)
    for number in (1, 2, 3):
        own = all_exits(cut_network(network, number), images, 4, REFERENCE)
        np.testing.assert_array_equal(own[:, 0], full[:, number - 1])


@pytest.mark.parametrize("number", [0, 4])
def test_a_cut_after_a_missing_exit_is_refused(number):
    with pytest.raises(InputError, match=r"has no exit \d to be cut after; its exits are 1 to 3"):
        cut_network(SmallNetwork(), number)


def test_a_cut_network_is_saved_and_loaded(tmp_path):
    shape = [3, 32, 32]
    own = cut_network(build_network("branchynet", 10, shape), 2).eval()
    provenance = {"network": "branchynet", "classes": 10, "shape": shape, "cut": 2}
    save_network(own, tmp_path / "network_2.safetensors", provenance)
    again, made_by = load_network(tmp_path / "network_2.safetensors")
    assert made_by == provenance
    images = torch.rand(2, *shape)
    with torch.inference_mode():
        assert torch.equal(own(images), again(images))


def test_policies_keep_their_budgets():
    records, costs = make_records(samples=300), make_costs()
    found = policies_of_budgets("coordinate", records, costs, ExitCriterion(), 5)
    full = costs.in_unit("ms").full_network
    budgets = [share for share, _ in found]
    assert budgets == sorted(budgets)
    assert budgets[-1] == 1.0
    for share, policy in found:
        taken = policy.exits_taken(records.uncertainty_by("entropy"))
        shares = np.bincount(taken, minlength=3) / len(records)
        assert costs.predicted_ms(policy.heads_run, shares) <= share * full * (1 + 1e-9)


def test_a_row_for_each_policy_smaller_network_and_the_full_network():
    network, images = SmallNetwork().eval(), random_images(40)
    logits = all_exits(network, images, 8, REFERENCE)
    label = logits[:, 1].argmax(axis=1)  # exit 2 is correct on all of them
    label[:4] = np.arange(4)
    records = from_logits(np.arange(40), label, logits, dict(PROVENANCE))
    policies = [(0.5, uniform(ExitCriterion(), 0.5, 3))]
    smaller = {number: cut_network(network, number) for number in (1, 2)}
    table = against_smaller(network, smaller, policies, records, images, make_costs(), REFERENCE)
    assert table.kind.tolist() == ["policy", *["smaller network"] * 2, "full network"]
    correct = records.correct.mean(axis=0)
    assert table.accuracy[1:].tolist() == pytest.approx(correct.tolist())
    # Stages of 10, 20, 30 and heads of 1, 2, 3 million.
    assert table.macs[1:].tolist() == [11e6, 32e6, 63e6]
    assert (table.accuracy_low <= table.accuracy).all()
    assert (table.ms_per_sample > 0).all()
