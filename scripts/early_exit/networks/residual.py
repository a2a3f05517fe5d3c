"""A residual network with five exits: 129 million multiply-accumulates, 2.4 million weights.

Wide where pictures are small, since a weight there is cheap to use: each widening convolution is
followed by pooling at once (Jordan 2024). Convolutions that keep the width are residual (He et al.
2016). The first exits come early, at a sixth and a third of the whole. Hard swish (Howard et al.
2019) bends as GELU does and takes a quarter of its time on a processor.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from early_exit.networks import MultiExitNetwork, blocks

Convolution = partial(blocks.Convolution, activation=nn.Hardswish)
Residual = partial(blocks.Residual, activation=nn.Hardswish)

STEM = 32
# Of the features after each stage.
CHANNELS = (48, 192, 192, 248, 248)


class Network(MultiExitNetwork):
    """Five stages, five exits, for pictures of 3x32x32."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        first, second, third, fourth, last = CHANNELS
        self.stages = nn.ModuleList(
            [
                nn.Sequential(
                    Convolution(3, STEM), Convolution(STEM, first, pool=True), Residual(first)
                ),
                Convolution(first, second, pool=True),
                Residual(third, depth=2),
                Convolution(third, fourth, pool=True),
                Residual(last, depth=2),
            ]
        )
        heads = [blocks.Head(channels, classes, nn.Hardswish) for channels in CHANNELS[:-1]]
        self.heads = nn.ModuleList([*heads, blocks.FinalHead(last, classes)])
