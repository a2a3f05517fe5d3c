"""The channel axis of a backbone's features: the first after the batch, or the last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

# Layers whose channels are in the first axis after the batch, and in the last axis.
ON_FIRST = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
ON_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm)
FIRST, LAST = 1, -1


@contextmanager
def axes_seen(stage: nn.Module) -> Iterator[dict[torch.Size, set[int]]]:
    """Record the channel axes of the outputs of a stage's layers within the block, by shape."""
    seen: dict[torch.Size, set[int]] = {}

    def note(layer: nn.Module, _: object, result: torch.Tensor) -> None:
        if isinstance(result, torch.Tensor) and result.dim() > 2:
            seen.setdefault(result.shape, set()).update(_axes(layer, result.shape))

    layers = [part for part in stage.modules() if isinstance(part, (*ON_FIRST, *ON_LAST))]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _axes(layer: nn.Module, shape: torch.Size) -> set[int]:
    if isinstance(layer, ON_FIRST):
        return {FIRST}
    if type(layer) in ON_LAST:
        return {LAST}
    # A subclass may permute the axes itself, as torchvision's LayerNorm2d does.
    width = layer.out_features if isinstance(layer, nn.Linear) else layer.normalized_shape[-1]
    return {axis for axis in (FIRST, LAST) if shape[axis] == width}


def channel_axis(seen: dict[torch.Size, set[int]], shape: torch.Size, before: int) -> int | None:
    """Channel axis of features of a shape, or ``None`` if it is ambiguous.

    ``before`` is the axis of the previous stage, or the usual one. It is used if no layer has an
    output of this shape.
    """
    axes = seen.get(shape, set()) or {before}
    return axes.pop() if len(axes) == 1 else None
