"""A network of depthwise separable convolutions: three exits, 15 million MACs, 0.5 million weights.

Its first exit takes no more MACs than that of ``compact``, and has ten convolutions before it
instead of two: two with a stride in place of pooling, and separable ones (Howard et al. 2017), each
with a residual connection, at an eighth of a full convolution's MACs. All samples pay for the first
stage and few for the second, which is wide.
"""

from __future__ import annotations

from torch import nn

from early_exit.networks import MultiExitNetwork
from early_exit.networks.zoo import blocks

# Channels of the first convolution, and after each stage.
STEM, CHANNELS = 32, (64, 128, 192)


class Network(MultiExitNetwork):
    """Three stages, three exits, for images of 3x32x32."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        first, second, last = CHANNELS
        self.stages = nn.ModuleList(
            [
                nn.Sequential(
                    _convolution(3, STEM, 2),
                    Separable(STEM),
                    _convolution(STEM, first, 2),
                    *(Separable(first) for _ in range(3)),
                ),
                nn.Sequential(_convolution(first, second), *(Separable(second) for _ in range(2))),
                nn.Sequential(_convolution(second, last, 2), *(Separable(last) for _ in range(3))),
            ]
        )
        self.heads = nn.ModuleList(blocks.Head(channels, classes, nn.ReLU) for channels in CHANNELS)


class Separable(nn.Module):
    """Residual block: a 3x3 convolution within each channel, then one across channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.within = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.across = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn_across = nn.BatchNorm2d(channels)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features):
        found = self.across(self.bn(self.within(features)))
        return features + self.activation(self.bn_across(found))


def _convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )
