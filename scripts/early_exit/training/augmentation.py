"""Augmentation of whole batches at once: no loop over pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

# Of pictures, pixels to move by, whose turn it is to be mirrored, and what draws by chance.
Augmentation = Callable[[torch.Tensor, int, torch.Tensor, torch.Generator], torch.Tensor]


def unchanged(
    images: torch.Tensor, pixels: int, mirrored: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """The pictures as they are."""
    return images


def flip_translate(
    images: torch.Tensor, pixels: int, mirrored: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Mirror half of the pictures, and :func:`translate` all."""
    by_chance = torch.rand(len(images), generator=generator) < 0.5
    return translate(mirror(images, by_chance), pixels, generator)


def alternating_flip_translate(
    images: torch.Tensor, pixels: int, mirrored: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Mirror those pictures whose turn it is, and :func:`translate` all."""
    return translate(mirror(images, mirrored), pixels, generator)


def turns(samples: int, epoch: int, generator: torch.Generator) -> torch.Tensor:
    """Whose turn it is to be mirrored, shape (N,): half of the pictures, the others next epoch.

    So both sides of a picture are seen in any two epochs (Jordan 2024, section 3.6). The generator
    is the same in each epoch.
    """
    return (torch.rand(samples, generator=generator) < 0.5) ^ (epoch % 2 == 0)


def mirror(images: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Turn left and right round in the pictures (N, channels, height, width) that are marked."""
    return torch.where(which.to(images.device)[:, None, None, None], images.flip(3), images)


def translate(images: torch.Tensor, pixels: int, generator: torch.Generator) -> torch.Tensor:
    """Move each picture by up to ``pixels``, up or down and left or right.

    What moves in from outside is black (He et al. 2016, section 4.2).

    Parameters
    ----------
    images
        Shape (N, channels, height, width), uint8, on any device.
    generator
        Of the CPU, so that every device sees the same pictures.
    """
    return crop(functional.pad(images, (pixels,) * 4), images.shape[2:], generator)


def crop(images: torch.Tensor, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Cut a window of ``shape`` (height, width) from each picture, anywhere in it."""
    samples = len(images)
    down, right = (
        torch.randint(0, pixels - side + 1, (samples,), generator=generator)
        for pixels, side in zip(images.shape[2:], shape, strict=True)
    )
    # A view of every place that a picture can be cut from; each takes its own.
    places = images.unfold(2, shape[0], 1).unfold(3, shape[1], 1)
    return places[torch.arange(samples), :, down, right]


def cut_out(images: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Blacken a square of ``side`` pixels in each picture, wherever its centre falls.

    At an edge less than the square is seen (DeVries and Taylor 2017, section 3.2).
    """
    spans = []
    for pixels in images.shape[2:]:
        start = torch.randint(0, pixels, (len(images), 1), generator=generator) - side // 2
        spans.append(_span(start, side, pixels))
    return images.masked_fill(_rectangle(*spans).to(images.device), 0)


def cut_mix(
    images: torch.Tensor, most: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cover a rectangle of each picture with what the one before it has there (Yun et al. 2019).

    Parameters
    ----------
    most
        Largest share of a picture that is covered; each has its own, up to there all as likely.

    Returns
    -------
    tuple
        The pictures, and the share (N,) of each that is its own still.
    """
    share = most * torch.rand((len(images), 1), generator=generator)
    spans = []
    for pixels in images.shape[2:]:
        side = (share.sqrt() * pixels).round().long()
        free = pixels - side + 1
        start = (torch.rand((len(images), 1), generator=generator) * free).long()
        spans.append(_span(start, side, pixels))
    covered = _rectangle(*spans)
    own = 1 - covered.float().mean(dim=(1, 2, 3))
    return torch.where(covered.to(images.device), images.roll(1, 0), images), own


def mixed_labels(labels: torch.Tensor, own: torch.Tensor, classes: int) -> torch.Tensor:
    """Probabilities (N, C) of the labels (N,) of pictures that :func:`cut_mix` has mixed."""
    share = own.to(labels.device)[:, None]
    certain = functional.one_hot(labels, classes).float()
    return share * certain + (1 - share) * certain.roll(1, 0)


def _span(start: torch.Tensor, side: torch.Tensor | int, pixels: int) -> torch.Tensor:
    """Which of so many pixels lie from ``start`` (N, 1) on, ``side`` long; (N, pixels)."""
    place = torch.arange(pixels)
    return (place >= start) & (place < start + side)


def _rectangle(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Which pixels lie in those rows and columns, (N, 1, height, width)."""
    return (rows[:, :, None] & columns[:, None, :])[:, None]


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": unchanged,
    "flip_translate": flip_translate,
    "alternating_flip_translate": alternating_flip_translate,
}
