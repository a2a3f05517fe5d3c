import numpy as np
import pytest
import torch

from early_exit import networks
from early_exit.cost import count_macs
from early_exit.training.loss import JointLoss, exit_weights

SHAPE = [3, 32, 32]
# Weights of a file that can be shipped: 10 MB of four bytes each.
MOST_WEIGHTS = 2_500_000


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return networks.build("residual", 10, SHAPE)


@pytest.mark.parametrize("classes", [10, 100])
def test_every_exit_gives_a_logit_for_each_class(classes):
    network = networks.build("residual", classes, SHAPE)
    assert network(torch.rand(2, *SHAPE)).shape == (2, 5, classes)


def test_macs_by_hand(network):
    counted = count_macs(network, torch.zeros(1, *SHAPE))
    stages = [
        27 * 32 * 1024 + 9 * 32 * 48 * 1024 + 9 * 48 * 48 * 256,
        9 * 48 * 192 * 256,
        2 * 9 * 192 * 192 * 64,
        9 * 192 * 248 * 64,
        2 * 9 * 248 * 248 * 16,
    ]
    assert [counted["stage", number] for number in range(1, 6)] == stages
    assert counted["head", 1] == 48 * 128 * 16 + 128 * 10
    assert counted["head", 5] == 248 * 10
    assert sum(stages) + counted["head", 5] <= 150e6


def test_a_third_of_the_work_is_enough_for_two_exits(network):
    counted = count_macs(network, torch.zeros(1, *SHAPE))
    whole = sum(counted["stage", k] for k in range(1, 6)) + counted["head", 5]
    assert counted["stage", 1] + counted["head", 1] < whole / 6
    assert counted["stage", 1] + counted["stage", 2] + counted["head", 2] < whole / 3


def test_a_head_costs_little_beside_its_stage(network):
    counted = count_macs(network, torch.zeros(1, *SHAPE))
    for number in range(1, 6):
        assert counted["head", number] < 0.03 * counted["stage", number]


def test_the_features_are_as_wide_as_said(network):
    features = torch.rand(1, *SHAPE)
    shapes = []
    for stage in network.stages:
        features = stage(features)
        shapes.append(tuple(features.shape[1:]))
    assert shapes == [(48, 16, 16), (192, 8, 8), (192, 8, 8), (248, 4, 4), (248, 4, 4)]


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


def test_a_larger_picture_is_taken_too():
    assert networks.build("residual", 10, [3, 40, 48])(torch.rand(1, 3, 40, 48)).shape == (1, 5, 10)
