import pytest
import torch

from early_exit.inference.cost import count_macs
from early_exit.networks.build import build_network

SHAPE = [3, 32, 32]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network("compact", 10, SHAPE)


@pytest.mark.parametrize("classes", [10, 100])
def test_every_exit_returns_a_logit_for_each_class(classes):
    network = build_network("compact", classes, SHAPE)
    assert network(torch.rand(2, *SHAPE)).shape == (2, 4, classes)


def test_macs_by_hand(network):
    counted = count_macs(network, torch.zeros(1, *SHAPE))
    stages = [
        27 * 16 * 1024 + 9 * 16 * 64 * 256,
        2 * 9 * 64 * 64 * 64,
        9 * 64 * 128 * 64 + 9 * 128 * 128 * 16,
        2 * 9 * 128 * 128 * 16,
    ]
    assert [counted["stage", number] for number in range(1, 5)] == stages
    assert counted["head", 1] == 64 * 128 * 16 + 128 * 10
    assert counted["head", 4] == 128 * 10


def test_it_costs_less_than_half_of_branchynet_and_its_first_exit_a_thirteenth(network):
    images = torch.zeros(1, *SHAPE)
    counted, branchynet = (
        count_macs(each, images) for each in (network, build_network("branchynet", 10, SHAPE))
    )
    full = sum(branchynet["stage", k] for k in range(1, 7)) + branchynet["head", 6]
    own = sum(counted["stage", k] for k in range(1, 5)) + counted["head", 4]
    assert own < full / 2
    assert counted["stage", 1] + counted["head", 1] < full / 13


def test_logits_do_not_depend_on_the_batch(network):
    images = torch.rand(5, *SHAPE)
    network.eval()
    with torch.inference_mode():
        together = network(images)
        single = torch.cat([network(images[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-4)


def test_a_head_does_not_change_its_features(network):
    """Its activations work in place."""
    network.eval()
    with torch.inference_mode():
        features = network.stages[0](torch.rand(2, *SHAPE))
        kept = features.clone()
        network.heads[0](features)
        network.stages[1](features)
    assert torch.equal(features, kept)
