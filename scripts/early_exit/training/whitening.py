"""Initial weights of the first convolution that whiten the images' patches."""

from __future__ import annotations

import math

import torch
from torch import nn

from early_exit.errors import InputError
from early_exit.inference.engine import Engine
from early_exit.networks import MultiExitNetwork

# Approximate number of patches, least number of images, and a regulariser of small variances.
PATCHES = 500_000
IMAGES = 100
EPSILON = 5e-4


@torch.no_grad()
def whiten(
    network: MultiExitNetwork, images: torch.Tensor, engine: Engine, mirror_symmetric: bool = False
) -> None:
    """Initialise the first convolution with whitened principal directions of patches.

    After Coates and Ng (2012), with both signs as in Jordan (2024), section 3.2. A filter is a
    direction divided by the square root of its variance; the strongest come first, each with both
    signs. Filters beyond these keep their weights. All of them are trained further.

    Parameters
    ----------
    network
        A newly built network, on the CPU.
    images
        Images of the train split (N, channels, height, width), uint8, of which an evenly spaced
        part is used.
    engine
        Scaling of the images.
    mirror_symmetric
        Whether the second half of the filters is the first, flipped horizontally.

    Raises
    ------
    InputError
        If the first stage does not begin with a convolution over all channels, or its kernel is
        larger than the images.
    """
    convolution = _first_convolution(network, images.shape[1])
    size, shape = tuple(convolution.kernel_size), tuple(images.shape[2:])
    if size[0] > shape[0] or size[1] > shape[1]:
        raise InputError(
            f"training.whitening: the first convolution of {size} is larger than the images,"
            f" {shape}",
            "set it to false",
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
    """The ``most`` strongest directions of patches (P, channels, rows, columns), whitened."""
    variances, directions = torch.linalg.eigh(torch.cov(patches.flatten(1).T).double())
    filters = (directions / (variances + EPSILON).sqrt()).T.flip(0).float()
    return filters[:most].reshape(-1, *patches.shape[1:])


def _one_sided(patches: torch.Tensor, most: int) -> torch.Tensor:
    """Filters that span, with their mirror images, the strongest directions, whitened.

    Each is the sum of a symmetric and an antisymmetric direction; its mirror image is their
    difference.
    """
    mirrored = patches.flip(3)
    free = patches.shape[1] * patches.shape[2] * (patches.shape[3] // 2)
    symmetric, antisymmetric = (
        _principal((patches + sign * mirrored) / 2, min(most, free)) for sign in (1, -1)
    )
    return (symmetric + antisymmetric) / 2**0.5


def _patches(images: torch.Tensor, size: tuple[int, ...], engine: Engine) -> torch.Tensor:
    """Scaled patches of ``size`` (rows, columns), shape (P, channels, rows, columns)."""
    positions = images.shape[2] * images.shape[3]
    wanted = max(IMAGES, PATCHES // positions)
    some = images[:: max(1, len(images) // wanted)].cpu()
    prepared = Engine(mean=engine.mean, std=engine.std).prepare(some)
    # A stride above 1 in large images.
    apart = max(1, math.ceil(math.sqrt(wanted * positions / PATCHES)))
    patches = prepared.unfold(2, size[0], apart).unfold(3, size[1], apart)
    patches = patches.permute(0, 2, 3, 1, 4, 5)
    return patches.reshape(-1, images.shape[1], *size)


def _first_convolution(network: MultiExitNetwork, channels: int) -> nn.Conv2d:
    """The convolution that takes the images."""
    for part in network.stages[0].modules():
        if isinstance(part, nn.Conv2d):
            if part.in_channels == channels and part.groups == 1 and part.out_channels > 1:
                return part
            break
    raise InputError(
        f"training.whitening: the first stage does not begin with a convolution over {channels}"
        " channels",
        "set it to false",
    )
