"""A small residual network with five exits: 126 million multiply-accumulates, 2.2 million weights.

Wide where pictures are small, since a weight there is cheap to use: each widening convolution is
followed by pooling at once, and normalised and bent after it, on a quarter of the places (as in the
networks that learn CIFAR-10 fastest, Jordan 2024). Convolutions that keep the width are residual
(He et al. 2016).
"""

from __future__ import annotations

from torch import nn
from torch.nn import functional

from early_exit.networks import MultiExitNetwork

STEM = 32
# Of the features after each stage.
CHANNELS = (64, 192, 192, 256, 256)
# Of a head's hidden layer, and the places that it averages over, along each side.
HIDDEN, PLACES = 128, 4


class Convolution(nn.Module):
    """A 3x3 convolution, pooled where ``pool`` says so, batch norm, GELU."""

    def __init__(self, before: int, after: int, pool: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(pool) if pool > 1 else nn.Identity()
        self.bn = nn.BatchNorm2d(after)

    def forward(self, features):
        return functional.gelu(self.bn(self.pool(self.conv(features))))


class Residual(nn.Module):
    """Convolutions of one width, and what went into them added to what comes out."""

    def __init__(self, channels: int, depth: int = 1) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(*(Convolution(channels, channels) for _ in range(depth)))

    def forward(self, features):
        return features + self.convolutions(features)


class Head(nn.Module):
    """A head before the last: means over 4x4 fields, a 1x1 convolution, a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(PLACES)
        self.conv = nn.Conv2d(channels, HIDDEN, 1, bias=False)
        self.bn = nn.BatchNorm2d(HIDDEN)
        self.fc = nn.Linear(HIDDEN, classes)

    def forward(self, features):
        hidden = functional.gelu(self.bn(self.conv(self.pool(features))))
        return self.fc(hidden.mean(dim=(2, 3)))


class FinalHead(nn.Module):
    """The last head: the largest of each feature, and a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, classes)

    def forward(self, features):
        return self.fc(features.amax(dim=(2, 3)))


class Network(MultiExitNetwork):
    """Five stages, five exits, for pictures of 3x32x32."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        first, second, third, fourth, last = CHANNELS
        self.stages = nn.ModuleList(
            [
                nn.Sequential(
                    Convolution(3, STEM), Convolution(STEM, first, pool=2), Residual(first)
                ),
                Convolution(first, second, pool=2),
                Residual(third),
                Convolution(third, fourth, pool=2),
                Residual(last, depth=2),
            ]
        )
        heads = [Head(channels, classes) for channels in CHANNELS[:-1]]
        self.heads = nn.ModuleList([*heads, FinalHead(last, classes)])
