"""A residual network with five exits: 148 million MACs, 2.4 million weights.

It is wide at low resolution, where a weight costs few MACs: each widening convolution but the first
is pooled at once (Jordan 2024). The first has few channels at full resolution (gain and cost:
docs/networks.md). Convolutions that keep the width are residual (He et al. 2016), with channel
attention (Hu et al. 2018). Hard swish (Howard et al. 2019) approximates GELU at a quarter of the
CPU time.

The first stage has a tenth of the MACs. Its features are fine, and classifiers need coarse ones
(Huang et al. 2018, section 4), so its head has two convolutions of its own, at a quarter of the
positions. The later stages keep the fine features.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from early_exit.networks import MultiExitNetwork
from early_exit.networks.zoo import blocks
from early_exit.networks.zoo.pooling import MaxPool

Convolution = partial(blocks.Convolution, activation=nn.Hardswish)
Residual = partial(blocks.Residual, activation=nn.Hardswish, weighed=True)

STEM = 24
# Channels after each stage.
CHANNELS = (64, 160, 160, 160, 208)


class Network(MultiExitNetwork):
    """Five stages, five exits, for images of 3x32x32."""

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
