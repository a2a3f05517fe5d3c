"""Building blocks of the residual networks: convolutions, channel attention and heads.

Pooling comes before batch norm and activation, which then run on a quarter of the positions
(Jordan 2024).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from early_exit.networks.zoo.pooling import MaxPool

# Hidden channels of a head, and the side of its pooled features.
HIDDEN, POOLED = 128, 4
# Reduction of the channel attention.
REDUCTION = 8


class Convolution(nn.Module):
    """3x3 convolution, optional 2x2 max-pooling, batch norm, activation."""

    def __init__(
        self, before: int, after: int, activation: Callable[[], nn.Module], pool: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.pool = MaxPool() if pool else nn.Identity()
        self.bn = nn.BatchNorm2d(after)
        self.activation = activation()

    def forward(self, features):
        return self.activation(self.bn(self.pool(self.conv(features))))


class Residual(nn.Module):
    """Residual block: convolutions of one width plus their input (He et al. 2016).

    With ``weighed``, :class:`ChannelWeights` follows the convolutions.
    """

    def __init__(
        self,
        channels: int,
        activation: Callable[[], nn.Module],
        depth: int = 1,
        weighed: bool = False,
    ) -> None:
        super().__init__()
        convolutions = [Convolution(channels, channels, activation) for _ in range(depth)]
        weights = [ChannelWeights(channels)] if weighed else []
        self.convolutions = nn.Sequential(*convolutions, *weights)

    def forward(self, features):
        return features + self.convolutions(features)


class ChannelWeights(nn.Module):
    """Squeeze and excitation: each channel times a weight in [0, 1] (Hu et al. 2018).

    The weights come from the channels' means through a hidden layer of an eighth of the channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // REDUCTION)
        self.activation = nn.ReLU(inplace=True)
        self.excite = nn.Linear(channels // REDUCTION, channels)
        self.gate = nn.Hardsigmoid()

    def forward(self, features):
        hidden = self.activation(self.squeeze(features.mean(dim=(2, 3))))
        return features * self.gate(self.excite(hidden))[:, :, None, None]


class Head(nn.Module):
    """Head of an early exit: average pooling to 4x4, a 1x1 convolution, a linear layer."""

    def __init__(self, channels: int, classes: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(POOLED)
        self.conv = nn.Conv2d(channels, HIDDEN, 1, bias=False)
        self.bn = nn.BatchNorm2d(HIDDEN)
        self.activation = activation()
        self.fc = nn.Linear(HIDDEN, classes)

    def forward(self, features):
        hidden = self.activation(self.bn(self.conv(self.pool(features))))
        return self.fc(hidden.mean(dim=(2, 3)))


class FinalHead(nn.Module):
    """Head of the final exit: global max-pooling and a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, classes)

    def forward(self, features):
        return self.fc(features.amax(dim=(2, 3)))
