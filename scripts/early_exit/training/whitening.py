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
def whiten(network: MultiExitNetwork, images: torch.Tensor, engine: Engine) -> None:
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
    patches = _patches(images, size, engine)
    variances, directions = torch.linalg.eigh(torch.cov(patches.T).double())
    filters = (directions / (variances + EPSILON).sqrt()).T.flip(0).float()
    filters = filters[: convolution.out_channels // 2].reshape(-1, *convolution.weight.shape[1:])
    convolution.weight[: 2 * len(filters)] = torch.cat([filters, -filters])


def _patches(images: torch.Tensor, size: tuple[int, ...], engine: Engine) -> torch.Tensor:
    """Patches of so many rows and columns, scaled, shape (P, channels x rows x columns)."""
    places = images.shape[2] * images.shape[3]
    wanted = max(PICTURES, PATCHES // places)
    some = images[:: max(1, len(images) // wanted)].cpu()
    pictures = Engine(mean=engine.mean, std=engine.std).pictures(some)
    # In large pictures, not at every place.
    apart = max(1, math.ceil(math.sqrt(wanted * places / PATCHES)))
    patches = pictures.unfold(2, size[0], apart).unfold(3, size[1], apart)
    patches = patches.permute(0, 2, 3, 1, 4, 5)
    return patches.reshape(-1, images.shape[1] * size[0] * size[1])


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
