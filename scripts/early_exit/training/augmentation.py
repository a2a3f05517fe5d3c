"""Augmentation of whole batches at once: no loop over pictures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

Augmentation = Callable[[torch.Tensor, int, torch.Generator], torch.Tensor]


def unchanged(images: torch.Tensor, translate: int, generator: torch.Generator) -> torch.Tensor:
    """The pictures as they are."""
    return images


def flip_translate(
    images: torch.Tensor, translate: int, generator: torch.Generator
) -> torch.Tensor:
    """Mirror half of the pictures and move each by up to ``translate`` pixels.

    What moves in from outside is black (He et al. 2016, section 4.2).

    Parameters
    ----------
    images
        Shape (N, channels, height, width), uint8, on any device.
    translate
        Pixels, at most, up or down and left or right.
    generator
        Of the CPU, so that every device sees the same pictures.
    """
    samples, _, height, width = images.shape
    flipped = torch.rand(samples, generator=generator) < 0.5
    down, right = torch.randint(0, 2 * translate + 1, (2, samples), generator=generator)
    flipped = flipped.to(images.device)[:, None, None, None]
    images = torch.where(flipped, images.flip(3), images)
    padded = functional.pad(images, (translate,) * 4)
    # A view of every place that a picture can be cut from; each takes its own.
    places = padded.unfold(2, height, 1).unfold(3, width, 1)
    return places[torch.arange(samples), :, down, right]


def cut_out(images: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Blacken a square of ``side`` pixels in each picture, wherever its centre falls.

    At an edge less than the square is seen (DeVries and Taylor 2017, section 3.2).
    """
    samples, _, *shape = images.shape
    inside = []
    for pixels in shape:
        start = torch.randint(0, pixels, (samples, 1), generator=generator) - side // 2
        place = torch.arange(pixels)
        inside.append((place >= start) & (place < start + side))
    rows, columns = inside
    square = (rows[:, :, None] & columns[:, None, :])[:, None]
    return images.masked_fill(square.to(images.device), 0)


AUGMENTATIONS: dict[str, Augmentation] = {"none": unchanged, "flip_translate": flip_translate}
