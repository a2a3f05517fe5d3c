"""What the residual networks are made of: convolutions, and the head of an early exit.

A convolution is pooled, where it is, before it is normalised and bent: that leaves a quarter of the
places to do it on (as in the networks that learn CIFAR-10 fastest, Jordan 2024).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from early_exit.networks.pooling import MaxPool

# Of a head's hidden layer, and the places that it averages over, along each side.
HIDDEN, PLACES = 128, 4
# How many times fewer numbers a picture's channels are squeezed into.
NARROWER = 8


class Convolution(nn.Module):
    """A 3x3 convolution, its places halved where ``pool`` says so, batch norm, activation."""

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
    """Convolutions of one width, and what goes into them added to what comes out (He 2016).

    Where ``weighed`` says so, what comes out is weighed by :class:`ChannelWeights` before.
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
    """Each channel times a weight in [0, 1] that the whole picture decides on (Hu et al. 2018).

    The means of the channels, a layer of an eighth as many, and one back to a weight for each.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // NARROWER)
        self.activation = nn.ReLU(inplace=True)
        self.excite = nn.Linear(channels // NARROWER, channels)
        self.gate = nn.Hardsigmoid()

    def forward(self, features):
        hidden = self.activation(self.squeeze(features.mean(dim=(2, 3))))
        return features * self.gate(self.excite(hidden))[:, :, None, None]


class Head(nn.Module):
    """A head: means over 4x4 fields, a 1x1 convolution, a linear layer."""

    def __init__(self, channels: int, classes: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(PLACES)
        self.conv = nn.Conv2d(channels, HIDDEN, 1, bias=False)
        self.bn = nn.BatchNorm2d(HIDDEN)
        self.activation = activation()
        self.fc = nn.Linear(HIDDEN, classes)

    def forward(self, features):
        hidden = self.activation(self.bn(self.conv(self.pool(features))))
        return self.fc(hidden.mean(dim=(2, 3)))


class FinalHead(nn.Module):
    """A smaller head, for the last exit: the largest of each feature, and a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, classes)

    def forward(self, features):
        return self.fc(features.amax(dim=(2, 3)))
