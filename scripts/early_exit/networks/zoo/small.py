"""A network for the embedded digits that trains in seconds: four exits, 18 million MACs.

Its first stages are narrow, so that the first exits are cheap and the later ones have something to
add: a network whose first exit is right nearly always has nothing to decide.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from early_exit.networks import MultiExitNetwork
from early_exit.networks.zoo import blocks

relu = partial(nn.ReLU, inplace=True)
Convolution = partial(blocks.Convolution, activation=relu)
Residual = partial(blocks.Residual, activation=relu)

# Channels after each stage.
CHANNELS = (8, 16, 64, 128)
# Side of the features that a head sees.
POOLED = 2


class Head(nn.Module):
    """Head of an early exit: average pooling to 2x2 and a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(POOLED)
        self.fc = nn.Linear(channels * POOLED**2, classes)

    def forward(self, features):
        return self.fc(self.pool(features).flatten(1))


class Network(MultiExitNetwork):
    """Four stages, four exits, for images of 3x32x32."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        first, second, third, last = CHANNELS
        self.stages = nn.ModuleList(
            [
                Convolution(3, first, pool=True),
                Convolution(first, second, pool=True),
                nn.Sequential(Convolution(second, third), Residual(third)),
                nn.Sequential(Convolution(third, last), Residual(last)),
            ]
        )
        heads = [Head(channels, classes) for channels in CHANNELS[:-1]]
        self.heads = nn.ModuleList([*heads, blocks.FinalHead(last, classes)])
