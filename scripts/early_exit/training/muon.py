"""Muon: an optimizer with orthogonalised steps of hidden layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

# Coefficients of the quintic iteration, and its rounds: five bring all singular values to between
# 0.7 and 1.2 (Jordan et al. 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
# Step size relative to the weight norm, so that learning rates of SGD transfer.
TURN = 0.25


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum; groups with ``turned`` take Muon's steps.

    There a weight (out, ...) is a matrix, and its step is the orthogonalised momentum (Jordan et
    al. 2024), with a norm of ``lr`` / 4 times that of the weight. The weight's norm is then
    restored. So the rate is an angle independent of the layer's size, and no weight decay is
    needed.

    PyTorch's own Muon takes matrices only, and works in bf16, which most CPUs emulate.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], momentum: float) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "turned": False})
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update each parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                if group["turned"]:
                    _turn(weight, self._direction(weight, weight.grad), TURN * group["lr"])
                else:
                    gradient = weight.grad.add(weight, alpha=group["weight_decay"])
                    weight.add_(self._direction(weight, gradient), alpha=-group["lr"])

    def _direction(self, weight: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Direction of Nesterov momentum; updates the momentum."""
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].mul_(self.momentum).add_(gradient)
        return gradient.add(momentum, alpha=self.momentum)


def _turn(weight: torch.Tensor, direction: torch.Tensor, rate: float) -> None:
    """Step against the orthogonalised direction, by ``rate`` of its norm, which is kept."""
    length = weight.norm()
    step = orthogonalised(direction.flatten(1)).view_as(direction)
    weight.sub_(step * (rate * length / (step.norm() + 1e-12)))
    weight.mul_(length / (weight.norm() + 1e-12))


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """Matrix with the same singular vectors, and singular values near 1 (Newton-Schulz)."""
    a, b, c = QUINTIC
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-12)
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.T


def hidden_weights(network: nn.Module) -> set[nn.Parameter]:
    """Weights of the convolutions from features to features, without the first and the heads' last.

    Linear layers are excluded: without normalisation after them their norm matters. So are weights
    that start at zero, whose norm would stay zero.
    """
    layers = [m.weight for m in network.modules() if isinstance(m, _ConvNd)]
    convolutions = [weight for weight in layers if weight.any()]
    first = [p for p in network.stages[0].parameters() if p.ndim > 1][:1]
    last = [[p for p in head.parameters() if p.ndim > 1][-1:] for head in network.heads]
    return set(convolutions) - {*first, *(p for weights in last for p in weights)}
