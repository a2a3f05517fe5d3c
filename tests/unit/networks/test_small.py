"""The network of the embedded digits."""

import pytest
import torch

from early_exit.inference.cost import count_macs
from early_exit.networks.build import build_network

SHAPE = [3, 32, 32]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network("small", 10, SHAPE).eval()


def test_every_exit_returns_a_logit_for_each_class(network):
    with torch.inference_mode():
        assert network(torch.rand(2, *SHAPE)).shape == (2, 4, 10)


def test_macs_by_hand(network):
    counted = count_macs(network, torch.zeros(1, *SHAPE))
    stages = [
        9 * 3 * 8 * 1024,
        9 * 8 * 16 * 256,
        9 * (16 + 64) * 64 * 64,
        9 * (64 + 128) * 128 * 64,
    ]
    assert [counted["stage", number] for number in range(1, 5)] == stages
    assert [counted["head", number] for number in range(1, 5)] == [320, 640, 2560, 1280]


def test_the_first_exit_costs_an_eightieth_of_the_full_network(network):
    counted = count_macs(network, torch.zeros(1, *SHAPE))
    full = sum(counted["stage", number] for number in range(1, 5)) + counted["head", 4]
    assert 79 < full / (counted["stage", 1] + counted["head", 1]) < 80
