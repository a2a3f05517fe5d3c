"""A small, fast network: four exits, 19 million MACs, 0.6 million weights.

Each of the first two convolutions halves the resolution, so the first exit costs a thirteenth of
the full BranchyNet. ReLU, since GELU would take as long as such a convolution.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from early_exit.networks import MultiExitNetwork
from early_exit.networks.zoo import blocks

relu = partial(nn.ReLU, inplace=True)
Convolution = partial(blocks.Convolution, activation=relu)
Residual = partial(blocks.Residual, activation=relu)

STEM = 16
# Channels after each stage.
CHANNELS = (64, 64, 128, 128)


class Network(MultiExitNetwork):
    """Four stages, four exits, for images of 3x32x32."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        first, second, third, last = CHANNELS
        self.stages = nn.ModuleList(
            [
                nn.Sequential(Convolution(3, STEM, pool=True), Convolution(STEM, first, pool=True)),
                Residual(second, depth=2),
                nn.Sequential(Convolution(second, third, pool=True), Residual(third)),
                Residual(last, depth=2),
            ]
        )
        heads = [blocks.Head(channels, classes, relu) for channels in CHANNELS[:-1]]
        self.heads = nn.ModuleList([*heads, blocks.FinalHead(last, classes)])
