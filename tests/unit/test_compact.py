import pytest
import torch

from early_exit import networks
from early_exit.cost import count_macs

SHAPE = [3, 32, 32]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return networks.build("compact", 10, SHAPE)


@pytest.mark.parametrize("classes", [10, 100])
def test_every_exit_gives_a_logit_for_each_class(classes):
    network = networks.build("compact", classes, SHAPE)
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


def test_it_is_half_of_branchynet_and_its_first_exit_a_small_part(network):
    images = torch.zeros(1, *SHAPE)
    counted, branchynet = (
        count_macs(each, images) for each in (network, networks.build("branchynet", 10, SHAPE))
    )
    whole = sum(branchynet["stage", k] for k in range(1, 7)) + branchynet["head", 6]
    own = sum(counted["stage", k] for k in range(1, 5)) + counted["head", 4]
    assert own < whole / 2
    assert counted["stage", 1] + counted["head", 1] < whole / 13


def test_a_picture_alone_gets_what_it_gets_in_a_batch(network):
    images = torch.rand(5, *SHAPE)
    network.eval()
    with torch.inference_mode():
        together = network(images)
        alone = torch.cat([network(images[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_what_a_head_is_given_stays_as_it_is(network):
    """Its activations work in place."""
    network.eval()
    with torch.inference_mode():
        features = network.stages[0](torch.rand(2, *SHAPE))
        kept = features.clone()
        network.heads[0](features)
        network.stages[1](features)
    assert torch.equal(features, kept)
