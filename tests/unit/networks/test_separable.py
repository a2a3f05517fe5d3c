import pytest
import torch

from early_exit.inference.cost import count_macs
from early_exit.networks.build import build_network

SHAPE = [3, 32, 32]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network("separable", 10, SHAPE).eval()


@pytest.mark.parametrize("classes", [10, 100])
def test_every_exit_returns_a_logit_for_each_class(classes):
    network = build_network("separable", classes, SHAPE)
    assert network(torch.rand(2, *SHAPE)).shape == (2, 3, classes)


def test_macs_by_hand(network):
    def separable(channels, positions):
        return (9 * channels + channels * channels) * positions

    counted = count_macs(network, torch.zeros(1, *SHAPE))
    stages = [
        27 * 32 * 256 + separable(32, 256) + 9 * 32 * 64 * 64 + 3 * separable(64, 64),
        9 * 64 * 128 * 64 + 2 * separable(128, 64),
        9 * 128 * 192 * 16 + 3 * separable(192, 16),
    ]
    heads = [channels * 128 * 16 + 128 * 10 for channels in (64, 128, 192)]
    assert [counted["stage", number] for number in (1, 2, 3)] == stages
    assert [counted["head", number] for number in (1, 2, 3)] == heads
    assert round((sum(stages) + heads[-1]) / 1e6) == 15
    assert sum(own.numel() for own in network.parameters()) == pytest.approx(0.53e6, rel=0.02)


def test_its_first_exit_costs_no_more_than_that_of_compact(network):
    own, other = (
        count_macs(each, torch.zeros(1, *SHAPE))
        for each in (network, build_network("compact", 10, SHAPE))
    )
    assert own["stage", 1] + own["head", 1] < other["stage", 1] + other["head", 1]


def test_logits_do_not_depend_on_the_batch(network):
    images = torch.rand(5, *SHAPE)
    with torch.inference_mode():
        together = network(images)
        single = torch.cat([network(images[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-4)


def test_a_head_does_not_change_its_features(network):
    """Its activations work in place."""
    with torch.inference_mode():
        features = network.stages[0](torch.rand(2, *SHAPE))
        kept = features.clone()
        network.heads[0](features)
        network.stages[1](features)
    assert torch.equal(features, kept)
