"""Tied weights that make a network's logits equal for an image and its mirror image."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork

# Relative tolerance of logits, for rounding.
TOLERANCE = 1e-3


class MirrorSymmetry:
    """Keeps a network equivariant under mirroring by tied weights (Cohen and Welling 2016).

    A layer's channels are two halves: a channel of the first has for an image the value that its
    partner in the second has for the mirror image. So the weights between two channels equal the
    flipped ones between their partners. Half of the weights are free, and every step learns from
    both sides of each image. The layers and the cost of the network do not change.

    Parameters
    ----------
    network
        Its random weights are changed in place: each becomes the sum of itself and its partner,
        at the same expected norm. :func:`check_symmetric` tells whether the network is suitable.
    """

    def __init__(self, network: MultiExitNetwork) -> None:
        self.network, self.weights = network, _weights(network)
        with torch.no_grad():
            for weight, ends in self.weights:
                both = weight + _partner(weight, *ends)
                # The sum of two random weights is longer by the square root of 2.
                weight.copy_(both / (2**0.5 if weight.ndim > 1 else 2))

    @torch.no_grad()
    def tie_gradients(self) -> None:
        """Set the gradients of partners to their mean, so that a step keeps them tied."""
        for weight, ends in self.weights:
            if weight.grad is not None:
                weight.grad = (weight.grad + _partner(weight.grad, *ends)) / 2

    @torch.no_grad()
    def tie(self) -> None:
        """Set partners, and their batch norm statistics, to their mean, against rounding."""
        for weight, ends in self.weights:
            weight.copy_((weight + _partner(weight, *ends)) / 2)
        for statistic in _statistics(self.network):
            statistic.copy_((statistic + _partner(statistic)) / 2)


def check_symmetric(network: MultiExitNetwork, shape: Sequence[int]) -> None:
    """Refuse a network that tied weights do not make symmetric, for images of ``shape``.

    Raises
    ------
    InputError
        One line that names the exit.
    """
    trial = copy.deepcopy(network).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        # Perturb weights that start equal, as batch norm's, which would hide an asymmetry.
        for tensor in (*trial.parameters(), *_statistics(trial)):
            tensor.mul_(1 + torch.rand(tensor.shape, generator=generator))
            tensor.add_(torch.rand(tensor.shape, generator=generator) / 10)
        images = torch.rand(2, *shape, generator=generator)
        MirrorSymmetry(trial).tie()
        logits, mirrored = trial(images), trial(images.flip(3))
    apart = (logits - mirrored).abs().amax(dim=(0, 2)) / logits.abs().amax(dim=(0, 2))
    for number, share in enumerate(apart.tolist(), 1):
        if not share < TOLERANCE:
            raise InputError(
                f"training.mirror_symmetric: exit {number} of this network would not be symmetric"
                f" for images of {shape[1]} by {shape[2]}, which takes strides and pooling that are"
                " symmetric, and heads that average over all positions",
                "set it to false",
            )


def _weights(network: MultiExitNetwork) -> list[tuple[nn.Parameter, tuple[bool, bool]]]:
    """Each weight, and whether its inputs and its outputs are features (not images or logits)."""
    images = [p for p in network.stages[0].parameters() if p.ndim > 1][:1]
    logits = [p for head in network.heads for p in _last_layer(list(head.parameters()))]
    return [
        (weight, (not _among(weight, images), not _among(weight, logits)))
        for weight in network.parameters()
    ]


def _last_layer(parameters: list[nn.Parameter]) -> list[nn.Parameter]:
    """The last weight of a head, and its bias."""
    matrices = [i for i, parameter in enumerate(parameters) if parameter.ndim > 1]
    return parameters[matrices[-1] :] if matrices else []


def _among(weight: nn.Parameter, others: list[nn.Parameter]) -> bool:
    return any(weight is other for other in others)


def _statistics(network: nn.Module) -> list[torch.Tensor]:
    """Running means and variances of batch norm."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    return [statistic for m in norms for statistic in (m.running_mean, m.running_var)]


def _partner(
    weight: torch.Tensor, takes_features: bool = True, gives_features: bool = True
) -> torch.Tensor:
    """The weight between the partners of its channels, flipped horizontally."""
    if gives_features:
        weight = _swapped(weight, 0)
    if takes_features and weight.ndim > 1:
        weight = _swapped(weight, 1)
    return weight.flip(-1) if weight.ndim > 2 else weight


def _swapped(weight: torch.Tensor, dim: int) -> torch.Tensor:
    """The weight with the halves of a channel dimension exchanged."""
    features = weight.shape[dim]
    # A single channel, as in a depthwise convolution, is its own partner.
    if features > 1 and features % 2:
        raise InputError(
            f"training.mirror_symmetric: this network has a layer of {features} channels, which"
            " make no pairs",
            "give it an even number, or set it to false",
        )
    return weight.roll(features // 2, dim)
