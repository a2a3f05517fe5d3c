import numpy as np
import pytest
import torch

from early_exit.inference.cost import count_macs
from early_exit.networks.build import build_network
from early_exit.networks.zoo.blocks import ChannelWeights, Residual
from early_exit.training.loss import JointLoss, exit_weights

SHAPE = [3, 32, 32]
# 10 MB of four bytes each.
MOST_WEIGHTS = 2_500_000


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network("residual", 10, SHAPE)


@pytest.mark.parametrize("classes", [10, 100])
def test_every_exit_returns_a_logit_for_each_class(classes):
    network = build_network("residual", classes, SHAPE)
    assert network(torch.rand(2, *SHAPE)).shape == (2, 5, classes)


def test_macs_by_hand(network):
    counted = count_macs(network, torch.zeros(1, *SHAPE))
    stages = [
        27 * 24 * 1024 + 9 * 24 * 64 * 1024,
        weighed(64, 256) + 9 * 64 * 160 * 256,
        weighed(160, 64),
        weighed(160, 64),
        9 * 160 * 208 * 64 + weighed(208, 16),
    ]
    assert [counted["stage", number] for number in range(1, 6)] == stages
    assert counted["head", 1] == weighed(64, 64) + 64 * 128 * 16 + 128 * 10
    assert counted["head", 5] == 208 * 128 * 16 + 128 * 10
    assert sum(stages) + counted["head", 5] <= 150e6


def weighed(channels, positions):
    """MACs of two convolutions and of the channel attention."""
    return 2 * 9 * channels * channels * positions + 2 * channels * (channels // 8)


def test_the_first_stages_cost_little(network):
    counted = count_macs(network, torch.zeros(1, *SHAPE))
    full = sum(counted["stage", k] for k in range(1, 6)) + counted["head", 5]
    assert counted["stage", 1] + counted["head", 1] < full / 7
    assert counted["stage", 1] + counted["stage", 2] < 0.4 * full


def test_a_head_costs_less_than_its_stage_and_little_after_the_first(network):
    counted = count_macs(network, torch.zeros(1, *SHAPE))
    assert counted["head", 1] < counted["stage", 1]
    for number in range(2, 6):
        assert counted["head", number] < 0.015 * counted["stage", number]


def test_shapes_of_the_features(network):
    features = torch.rand(1, *SHAPE)
    shapes = []
    for stage in network.stages:
        features = stage(features)
        shapes.append(tuple(features.shape[1:]))
    assert shapes == [(64, 16, 16), (160, 8, 8), (160, 8, 8), (160, 8, 8), (208, 4, 4)]


def test_a_residual_adds_its_input():
    residual = Residual(8, torch.nn.ReLU, depth=2, weighed=True).eval()
    residual.convolutions[1].bn.weight.data.zero_()
    features = torch.randn(2, 8, 4, 4)
    assert torch.equal(residual(features), features)


def test_channel_weights_by_hand():
    """The first mean, 2, becomes 2, then 6 and -6: weights of 1 and 0."""
    weights = ChannelWeights(8)
    for layer in (weights.squeeze, weights.excite):
        layer.weight.data.zero_()
        layer.bias.data.zero_()
    weights.squeeze.weight.data[0, 0] = 1.0
    weights.excite.weight.data[0], weights.excite.weight.data[1] = 3.0, -3.0
    features = torch.full((1, 8, 2, 2), -1.0)
    features[0, 0] = torch.tensor([[1.0, 3.0], [0.0, 4.0]])
    weighted = weights(features)
    assert torch.equal(weighted[0, 0], features[0, 0])
    assert torch.equal(weighted[0, 1], torch.zeros(2, 2))
    assert torch.equal(weighted[0, 2:], features[0, 2:] / 2)


def test_gradients_reach_every_weight_and_each_head_only_what_is_before_it(network):
    images, labels = torch.rand(4, *SHAPE), torch.tensor([0, 1, 2, 3])
    network.train()
    JointLoss(exit_weights(None, 5))(network(images), labels).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    for k in range(5):
        network.zero_grad()
        torch.nn.functional.cross_entropy(network(images)[:, k], labels).backward()
        reached = {n for n, p in network.named_parameters() if p.grad is not None and p.grad.any()}
        expected = {f"stages.{j}" for j in range(k + 1)} | {f"heads.{k}"}
        assert {".".join(name.split(".")[:2]) for name in reached} == expected
    network.zero_grad()
    network.eval()


def test_it_is_small_enough_to_ship(network):
    assert sum(np.prod(value.shape) for value in network.state_dict().values()) < MOST_WEIGHTS


def test_a_larger_image_is_accepted():
    assert build_network("residual", 10, [3, 40, 48])(torch.rand(1, 3, 40, 48)).shape == (1, 5, 10)
