"""Muon: each hidden layer's step is orthogonal, so that no direction of it is left behind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

# Of the quintic that brings all singular values near 1 fast, and how often it is applied: in five
# rounds they come to lie between 0.7 and 1.2 (Jordan et al. 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
# How far a weight turns at a rate: so a rate that suits gradient descent suits what is turned, too.
TURN = 0.25


class Muon(torch.optim.Optimizer):
    """Gradient descent with Nesterov's momentum; groups with ``turned`` step as Muon does.

    There a weight (out, ...) is a matrix, and the step is its momentum orthogonalised (Jordan et
    al. 2024), a quarter of ``lr`` times as long as the weight, which then gets its length back, as
    in the networks that learn CIFAR-10 fastest. So the rate says how far a layer turns, whatever
    its size, and nothing need decay.

    PyTorch's own Muon takes matrices only, and works in bf16, which most processors emulate.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], momentum: float) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "turned": False})
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Change each parameter that has a gradient."""
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
        """Where Nesterov's momentum points."""
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].mul_(self.momentum).add_(gradient)
        return gradient.add(momentum, alpha=self.momentum)


def _turn(weight: torch.Tensor, direction: torch.Tensor, rate: float) -> None:
    """Go ``rate`` of the weight's length against the direction, orthogonalised; keep the length."""
    length = weight.norm()
    step = orthogonalised(direction.flatten(1)).view_as(direction)
    weight.sub_(step * (rate * length / (step.norm() + 1e-12)))
    weight.mul_(length / (weight.norm() + 1e-12))


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """A matrix of the same singular vectors, and singular values near 1 (Newton and Schulz)."""
    a, b, c = QUINTIC
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-12)
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x if wide else x.T


def hidden_weights(network: nn.Module) -> set[nn.Parameter]:
    """The convolutions between features: not the first, which sees pictures, nor those of logits.

    No linear layers: one that no normalisation follows wants to choose its length. And none that
    begins at zero, since a length of zero would stay.
    """
    layers = [m.weight for m in network.modules() if isinstance(m, _ConvNd)]
    convolutions = [weight for weight in layers if weight.any()]
    first = [p for p in network.stages[0].parameters() if p.ndim > 1][:1]
    last = [[p for p in head.parameters() if p.ndim > 1][-1:] for head in network.heads]
    return set(convolutions) - {*first, *(p for weights in last for p in weights)}
