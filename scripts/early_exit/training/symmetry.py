"""Weights that are tied so that a network says the same of a picture and of its mirror image."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork

# How far logits that should be alike may be apart by rounding, as a share of the largest.
TOLERANCE = 1e-3


class MirrorSymmetry:
    """Keeps a network equivariant under mirroring (Cohen and Welling 2016), by its weights alone.

    The features of a layer are two halves: each of the first shows in a picture what its partner
    in the second shows in the mirror image. So the weights from one feature to another are those
    between their partners, turned round. Half of the weights are free, and every step learns from
    both sides of each picture. The network stays one of plain layers, and costs what it did.

    Parameters
    ----------
    network
        With weights by chance, which change: each becomes the sum of itself and its partner, at
        the length that it had before. For which networks it works, :func:`check_symmetric` says.
    """

    def __init__(self, network: MultiExitNetwork) -> None:
        self.network, self.weights = network, _weights(network)
        with torch.no_grad():
            for weight, ends in self.weights:
                both = weight + _partner(weight, *ends)
                # Of two weights by chance the mean is shorter than they are.
                weight.copy_(both / (2**0.5 if weight.ndim > 1 else 2))

    @torch.no_grad()
    def tie_gradients(self) -> None:
        """Give partners the mean of their gradients; then a step leaves them partners."""
        for weight, ends in self.weights:
            if weight.grad is not None:
                weight.grad = (weight.grad + _partner(weight.grad, *ends)) / 2

    @torch.no_grad()
    def tie(self) -> None:
        """Give partners their mean, against rounding, and what batch norm saw of both."""
        for weight, ends in self.weights:
            weight.copy_((weight + _partner(weight, *ends)) / 2)
        for statistic in _statistics(self.network):
            statistic.copy_((statistic + _partner(statistic)) / 2)


def check_symmetric(network: MultiExitNetwork, shape: Sequence[int]) -> None:
    """Weights that are tied must make the network symmetric, for pictures of ``shape``.

    Raises
    ------
    InputError
        One line that says what stands in the way.
    """
    trial = copy.deepcopy(network).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # Where weights are alike to begin with, as batch norm's, nothing would be seen.
        for tensor in (*trial.parameters(), *_statistics(trial)):
            tensor.mul_(1 + torch.rand(tensor.shape, generator=generator))
            tensor.add_(torch.rand(tensor.shape, generator=generator) / 10)
        pictures = torch.rand(2, *shape, generator=generator)
        MirrorSymmetry(trial).tie()
        logits, mirrored = trial(pictures), trial(pictures.flip(3))
    apart = (logits - mirrored).abs().amax(dim=(0, 2)) / logits.abs().amax(dim=(0, 2))
    for number, share in enumerate(apart.tolist(), 1):
        if not share < TOLERANCE:
            raise InputError(
                f"training.mirror_symmetric: exit {number} of this network would not say the same"
                f" of mirror images of {shape[1]} by {shape[2]}; it takes strides and pooling that"
                " lie alike on both sides, and heads that average over all places. Set it to false"
            )


def _weights(network: MultiExitNetwork) -> list[tuple[nn.Parameter, tuple[bool, bool]]]:
    """Each weight, and whether it takes features and gives features: not pictures, not logits."""
    pictures = [p for p in network.stages[0].parameters() if p.ndim > 1][:1]
    logits = [p for head in network.heads for p in _last_layer(list(head.parameters()))]
    return [
        (weight, (not _among(weight, pictures), not _among(weight, logits)))
        for weight in network.parameters()
    ]


def _last_layer(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    """The last weight of a head, and its bias."""
    matrices = [i for i, parameter in enumerate(parameters) if parameter.ndim > 1]
    return parameters[matrices[-1] :] if matrices else []


def _among(weight: nn.Parameter, others: list[nn.Parameter]) -> bool:
    return any(weight is other for other in others)


def _statistics(network: nn.Module) -> list[torch.Tensor]:
    """Batch norm's, which are as many as the features."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    return [statistic for m in norms for statistic in (m.running_mean, m.running_var)]


def _partner(
    weight: torch.Tensor, takes_features: bool = True, gives_features: bool = True
) -> torch.Tensor:
    """The same between the partners of what it takes and gives: columns turned round, too."""
    if gives_features:
        weight = _swapped(weight, 0)
    if takes_features and weight.ndim > 1:
        weight = _swapped(weight, 1)
    return weight.flip(-1) if weight.ndim > 2 else weight


def _swapped(weight: torch.Tensor, dim: int) -> torch.Tensor:
    """The two halves of the features, exchanged."""
    features = weight.shape[dim]
    # Of one channel alone, as in a depthwise convolution, it is the one that is given.
    if features > 1 and features % 2:
        raise InputError(
            f"training.mirror_symmetric: this network has a layer of {features} features, which"
            " are no pairs; give it an even number, or set it to false"
        )
    return weight.roll(features // 2, dim)
