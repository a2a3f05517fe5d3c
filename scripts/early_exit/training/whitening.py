"""A first convolution that sees the pictures' patches whitened, instead of by chance."""

from __future__ import annotations

import math

import torch
from torch import nn

from early_exit.engine import Engine
from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork

# How many patches are looked at, about, in how many pictures at least, and what keeps faint
# directions from being blown up.
PATCHES = 500_000
PICTURES = 100
EPSILON = 5e-4


@torch.no_grad()
def whiten(
    network: MultiExitNetwork, images: torch.Tensor, engine: Engine, mirror_symmetric: bool = False
) -> None:
    """Let the first convolution begin as the principal directions of patches, whitened.

    After Coates and Ng (2012); a layer of both signs as in Jordan (2024), section 3.2. A filter is
    a direction over the square root of its variance; the strongest come first, each with both
    signs. Where there are more filters than that, the rest keep their weights. All of them are
    trained on.

    Parameters
    ----------
    network
        A freshly built network, on the CPU.
    images
        Pictures of the train split (N, channels, height, width), uint8, of which a part, spread
        evenly, is looked at.
    engine
        Says how pictures are scaled.
    mirror_symmetric
        Whether the second half of the filters is to be the first, turned round.

    Raises
    ------
    InputError
        If the first stage has no convolution over all channels of the pictures, or a larger one
        than they are.
    """
    convolution = _first_convolution(network, images.shape[1])
    size, shape = tuple(convolution.kernel_size), tuple(images.shape[2:])
    if size[0] > shape[0] or size[1] > shape[1]:
        raise InputError(
            f"training.whitening: the first convolution of {size} is larger than the pictures,"
            f" {shape}; set it to false"
        )
    patches, most = _patches(images, size, engine), convolution.out_channels // 2
    if mirror_symmetric:
        filters = _one_sided(patches, most // 2)
        halves = convolution.weight.chunk(2)
        for half, part in zip(halves, (filters, filters.flip(3)), strict=True):
            half[: 2 * len(part)] = torch.cat([part, -part])
        return
    filters = _principal(patches, most)
    convolution.weight[: 2 * len(filters)] = torch.cat([filters, -filters])


def _principal(patches: torch.Tensor, most: int) -> torch.Tensor:
    """So many directions of patches (P, channels, rows, columns), the strongest, whitened."""
    variances, directions = torch.linalg.eigh(torch.cov(patches.flatten(1).T).double())
    filters = (directions / (variances + EPSILON).sqrt()).T.flip(0).float()
    return filters[:most].reshape(-1, *patches.shape[1:])


def _one_sided(patches: torch.Tensor, most: int) -> torch.Tensor:
    """Filters that are, with their mirror images, the strongest directions, whitened.

    A direction that is its own mirror image, and one that is its negative: their sum is neither,
    and the mirror image of the sum is their difference.
    """
    mirrored = patches.flip(3)
    free = patches.shape[1] * patches.shape[2] * (patches.shape[3] // 2)
    alike, opposite = (
        _principal((patches + sign * mirrored) / 2, min(most, free)) for sign in (1, -1)
    )
    return (alike + opposite) / 2**0.5


def _patches(images: torch.Tensor, size: tuple[int, ...], engine: Engine) -> torch.Tensor:
    """Patches of so many rows and columns, scaled, shape (P, channels, rows, columns)."""
    places = images.shape[2] * images.shape[3]
    wanted = max(PICTURES, PATCHES // places)
    some = images[:: max(1, len(images) // wanted)].cpu()
    pictures = Engine(mean=engine.mean, std=engine.std).pictures(some)
    # In large pictures, not at every place.
    apart = max(1, math.ceil(math.sqrt(wanted * places / PATCHES)))
    patches = pictures.unfold(2, size[0], apart).unfold(3, size[1], apart)
    patches = patches.permute(0, 2, 3, 1, 4, 5)
    return patches.reshape(-1, images.shape[1], *size)


def _first_convolution(network: MultiExitNetwork, channels: int) -> nn.Conv2d:
    """The first convolution of the first stage, one that takes pictures in."""
    for part in network.stages[0].modules():
        if isinstance(part, nn.Conv2d):
            if part.in_channels == channels and part.groups == 1 and part.out_channels > 1:
                return part
            break
    raise InputError(
        f"training.whitening: the first stage does not begin with a convolution over {channels}"
        " channels; set it to false"
    )
