"""Small heads for a backbone's features: a mean over all positions, and one linear layer.

What a stage hands on is its features alone, or a dict of ``features`` and of what later stages
need.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from early_exit.errors import InputError
from early_exit.networks.axes import FIRST, LAST

FEATURES = "features"
# Inputs that say which positions count: not 0 where there is a token, 0 where there is padding.
MASKS = ("attention_mask", "mask")
POOLS = {3: nn.AdaptiveAvgPool1d, 4: nn.AdaptiveAvgPool2d, 5: nn.AdaptiveAvgPool3d}
# Dimensions of the features that each kind of head takes, with the batch.
KINDS = {
    "pooled": (4, 5),
    "tokens": (3,),
    "channels_last": (4, 5),
    "sequence": (3,),
    "flat": (2, 3, 4, 5, 6),
}


class TokenMean(nn.Module):
    """Mean over all positions, (N, ..., channels) to (N, channels)."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens.mean(dim=tuple(range(1, tokens.dim() - 1)))


class Features(nn.Module):
    """The features among what a stage hands on."""

    def forward(self, handed_on: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return handed_on[FEATURES]


class MaskedMean(nn.Module):
    """Mean over the positions that a mask counts; of a sample without any, 0.

    Parameters
    ----------
    mask
        Key of the mask, (N, T), in what the stage hands on. Where features have fewer positions
        than the mask, as after strided convolutions, each has the value at the middle of its part
        of it.
    axis
        Channel axis: -1 for features (N, T, channels), 1 for (N, channels, T).
    """

    def __init__(self, mask: str, axis: int = LAST) -> None:
        super().__init__()
        self.mask, self.axis = mask, axis

    def forward(self, handed_on: Mapping[str, torch.Tensor]) -> torch.Tensor:
        features, mask = handed_on[FEATURES], handed_on[self.mask]
        tokens = features if self.axis == LAST else features.transpose(1, 2)
        length, given = tokens.shape[1], mask.shape[1]
        if length != given:
            middles = torch.arange(length, device=mask.device) * given // length
            mask = mask.index_select(1, middles + given // length // 2)
        counted = (mask != 0).to(tokens.dtype).unsqueeze(2)
        # What is in a masked position may be anything, NaN too.
        total = tokens.masked_fill(counted == 0, 0).sum(dim=1)
        return total / counted.sum(dim=1).clamp(min=1)


def small_head(features: torch.Size, classes: int, axis: int | None = None) -> nn.Module:
    """Head of a mean over all positions and one linear layer.

    Parameters
    ----------
    axis
        Channel axis, 1 or -1. By default features of four dimensions are (N, channels, height,
        width), those of three are tokens, (N, tokens, channels).
    """
    return head_of_kind(kind_of(features, axis), features, classes)


def kind_of(features: torch.Size, axis: int | None = None) -> str:
    """Name of the head in :data:`KINDS` for features of a shape with channels in an axis."""
    if len(features) not in (3, 4):
        return "flat"
    if (axis or usual_axis(features)) == LAST:
        return "tokens" if len(features) == 3 else "channels_last"
    return "sequence" if len(features) == 3 else "pooled"


def head_of_kind(
    kind: str, features: torch.Size, classes: int, mask: tuple[str, torch.Size] | None = None
) -> nn.Module:
    """A new head by its name, for features of a shape (1, ...).

    Parameters
    ----------
    mask
        Key and shape of a mask among what the stage hands on. The means of ``tokens`` and
        ``sequence`` are over what it counts; then the head takes all that the stage hands on.

    Raises
    ------
    InputError
        If the head cannot take such features, or they have more positions than the mask.
    """
    if kind not in KINDS:
        raise InputError(f"head: {kind!r} is none", f"name one of {', '.join(KINDS)}")
    if len(features) not in KINDS[kind]:
        fit = fitting(features)
        raise InputError(
            f"head: {kind} cannot take features of shape {list(features[1:])}",
            f"name one that can: {', '.join(fit)}" if fit else "give a function as head",
        )
    if kind == "flat":
        return nn.Sequential(nn.Flatten(), nn.Linear(features[1:].numel(), classes))
    axis = LAST if kind in ("tokens", "channels_last") else FIRST
    linear = nn.Linear(features[axis], classes)
    if mask and kind in ("tokens", "sequence"):
        key, shape = mask
        positions = features[1] if axis == LAST else features[2]
        if len(shape) != 2 or shape[1] < positions:
            raise InputError(
                f"head: {key} has shape {list(shape[1:])}, but the features have {positions}"
                " positions",
                "give a function as head",
            )
        return nn.Sequential(MaskedMean(key, axis), linear)
    if axis == LAST:
        return nn.Sequential(TokenMean(), linear)
    return nn.Sequential(POOLS[len(features)](1), nn.Flatten(), linear)


def fitting(features: torch.Size) -> list[str]:
    """Names of the heads that can take features of a shape."""
    return [name for name, dimensions in KINDS.items() if len(features) in dimensions]


def usual_axis(features: torch.Size) -> int:
    """Channel axis of features of a shape, where nothing else is known."""
    return LAST if len(features) == 3 else FIRST
