"""Muon: which weights it turns, by how much, and SGD for the others."""

import pytest
import torch
from torch import nn

from early_exit.networks import MultiExitNetwork
from early_exit.networks.build import build_network
from early_exit.training.muon import TURN, Muon, hidden_weights, orthogonalised
from early_exit.training.optimizers import optimizer, set_rate


def sown(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (30, 30)])
def test_orthogonalised_keeps_singular_vectors_with_values_near_one(shape):
    matrix = torch.randn(shape, generator=sown()).double()
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalised(matrix) @ right.T
    kept = values > 0.05 * values.max()
    assert ((found.diagonal() > 0.6) & (found.diagonal() < 1.3))[kept].all()
    assert (found - found.diagonal().diag()).abs().max() < 1e-9


def test_a_turned_weight_keeps_its_norm_and_turns_by_the_rate():
    weight = nn.Parameter(torch.randn(4, 3, 3, 3, generator=sown()))
    before = weight.detach().clone()
    own = Muon([{"params": [weight], "turned": True, "weight_decay": 0.5}], momentum=0.9)
    set_rate(own, 0.1 / TURN)
    gradient = torch.randn(before.shape, generator=sown(1))
    weight.grad = gradient
    own.step()
    assert weight.norm().item() == pytest.approx(before.norm().item(), rel=1e-5)
    step = -0.1 * before.norm() * _unit(orthogonalised(gradient.flatten(1))).view_as(before)
    expected = _unit(before + step) * before.norm()
    assert torch.allclose(weight, expected, atol=1e-5)


def _unit(matrix: torch.Tensor) -> torch.Tensor:
    return matrix / matrix.norm()


def test_the_norm_of_a_gradient_does_not_matter_to_turned_weights():
    ends = []
    for scale in (1.0, 1e-4):
        weight = nn.Parameter(torch.randn(4, 6, generator=sown()))
        own = Muon([{"params": [weight], "turned": True}], momentum=0.9)
        set_rate(own, 0.1)
        for seed in (1, 2):
            weight.grad = scale * torch.randn(4, 6, generator=sown(seed))
            own.step()
        ends.append(weight.detach().clone())
    assert torch.allclose(*ends, atol=1e-5)


def test_other_parameters_equal_sgd():
    ends = []
    for kind in ("muon", "sgd"):
        weight = nn.Parameter(torch.randn(4, 6, generator=sown()))
        group = [{"params": [weight], "weight_decay": 0.1}]
        own = (
            Muon(group, momentum=0.9)
            if kind == "muon"
            else torch.optim.SGD(group, momentum=0.9, nesterov=True)
        )
        set_rate(own, 0.1)
        for seed in (1, 2, 3):
            weight.grad = torch.randn(4, 6, generator=sown(seed))
            own.step()
        ends.append(weight.detach().clone())
    assert torch.allclose(*ends, atol=1e-6)


@pytest.mark.parametrize("name", ["branchynet", "compact", "residual"])
def test_only_convolutions_after_the_first_are_turned(name):
    network = build_network(name, 10, [3, 32, 32])
    hidden = hidden_weights(network)
    convolutions = [m.weight for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions[0].shape[1] == 3
    assert hidden == set(convolutions[1:])
    groups = optimizer("muon", network, 0.1).param_groups
    assert {p for group in groups if group["turned"] for p in group["params"]} == hidden
    assert sum(len(group["params"]) for group in groups) == len([*network.parameters()])


def test_convolutions_that_start_at_zero_are_not_turned():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer_scale = nn.Parameter(torch.full((4, 1, 1), 1e-6))
            self.convolution = nn.Conv2d(4, 4, 3)
            self.silent = nn.Conv2d(4, 4, 3)
            nn.init.zeros_(self.silent.weight)

    network = MultiExitNetwork()
    scaled = Scaled()
    network.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 4, 3), scaled)])
    network.heads = nn.ModuleList([nn.Linear(4, 10)])
    assert hidden_weights(network) == {scaled.convolution.weight}


def test_a_last_convolution_of_a_head_is_not_turned():
    network = MultiExitNetwork()
    network.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))])
    network.heads = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 10, 1))])
    stage, head = network.stages[0], network.heads[0]
    assert hidden_weights(network) == {stage[1].weight, head[0].weight}
