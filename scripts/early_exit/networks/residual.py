"""A residual network with five exits: 148 million multiply-accumulates, 2.4 million weights.

Wide where pictures are small, since a weight there is cheap to use: each widening convolution but
the first is followed by pooling at once (Jordan 2024). The first has few features, but of every
place (docs/networks.md tells what that brought and costs). Convolutions that keep the width are
residual (He et al. 2016), and the picture as a whole weighs their channels (Hu et al. 2018). Hard
swish (Howard et al. 2019) bends as GELU does and takes a quarter of its time on a processor.

The first stage is a tenth of the whole and its features are fine, where a classifier wants
coarse ones (Huang et al. 2018, section 4). Its head makes them so for itself with two convolutions
on a quarter of the places; the stages behind it keep the fine ones.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from early_exit.networks import MultiExitNetwork, blocks
from early_exit.networks.pooling import MaxPool

Convolution = partial(blocks.Convolution, activation=nn.Hardswish)
Residual = partial(blocks.Residual, activation=nn.Hardswish, weighed=True)

STEM = 24
# Of the features after each stage.
CHANNELS = (64, 160, 160, 160, 208)


class Network(MultiExitNetwork):
    """Five stages, five exits, for pictures of 3x32x32."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        first, second, third, fourth, last = CHANNELS
        self.stages = nn.ModuleList(
            [
                nn.Sequential(Convolution(3, STEM), Convolution(STEM, first, pool=True)),
                nn.Sequential(Residual(first, depth=2), Convolution(first, second, pool=True)),
                Residual(third, depth=2),
                Residual(fourth, depth=2),
                nn.Sequential(Convolution(fourth, last, pool=True), Residual(last, depth=2)),
            ]
        )
        near, *others = [blocks.Head(channels, classes, nn.Hardswish) for channels in CHANNELS]
        coarse = nn.Sequential(MaxPool(), Residual(first, depth=2), near)
        self.heads = nn.ModuleList([coarse, *others])
