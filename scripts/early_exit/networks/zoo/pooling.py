"""Max-pooling without the indices of the maxima, which take most of its time."""

from __future__ import annotations

import torch
from torch import nn


class MaxPool(nn.MaxPool2d):
    """2x2 max-pooling of features (N, channels, height, width).

    The values equal those of ``torch.nn.MaxPool2d(2)``. On a CPU, without gradients and in
    ``channels_last`` memory, it is two to six times as fast.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Pooled features, half as high and wide."""
        if torch.is_grad_enabled() or not _halves_well(features):
            return super().forward(features)
        rows = torch.maximum(features[..., ::2], features[..., 1::2])
        return torch.maximum(rows[:, :, ::2], rows[:, :, 1::2])


def _halves_well(features: torch.Tensor) -> bool:
    """Whether both sides are even, and the features are ``channels_last`` on a CPU."""
    even = features.shape[-2] % 2 == 0 and features.shape[-1] % 2 == 0
    beside = features.is_contiguous(memory_format=torch.channels_last)
    return even and beside and features.device.type == "cpu"
