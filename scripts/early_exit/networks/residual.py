"""A small residual network with five exits: 126 million multiply-accumulates, 2.2 million weights.

Wide where pictures are small, since a weight there is cheap to use: each widening convolution is
followed by pooling at once (Jordan 2024). Convolutions that keep the width are residual (He et al.
2016).
"""

from __future__ import annotations

from functools import partial

from torch import nn

from early_exit.networks import MultiExitNetwork, blocks

Convolution = partial(blocks.Convolution, activation=nn.GELU)
Residual = partial(blocks.Residual, activation=nn.GELU)

STEM = 32
# Of the features after each stage.
CHANNELS = (64, 192, 192, 256, 256)


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
        heads = [blocks.Head(channels, classes, nn.GELU) for channels in CHANNELS[:-1]]
        self.heads = nn.ModuleList([*heads, blocks.FinalHead(last, classes)])
