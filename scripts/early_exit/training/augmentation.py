"""Augmentation of batches, vectorised over images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

# Arguments: images, most pixels to translate by, which images to flip, random generator.
Augmentation = Callable[[torch.Tensor, int, torch.Tensor, torch.Generator], torch.Tensor]


def unchanged(
    images: torch.Tensor, pixels: int, mirrored: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """The images, unchanged."""
    return images


def flip_translate(
    images: torch.Tensor, pixels: int, mirrored: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Flip a random half of the images, and :func:`translate` all."""
    flipped = torch.rand(len(images), generator=generator) < 0.5
    return translate(mirror(images, flipped), pixels, generator)


def alternating_flip_translate(
    images: torch.Tensor, pixels: int, mirrored: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Flip the images in ``mirrored``, and :func:`translate` all."""
    return translate(mirror(images, mirrored), pixels, generator)


def turns(samples: int, epoch: int, generator: torch.Generator) -> torch.Tensor:
    """Which images to flip in an epoch, shape (N,): a random half, the others in the next epoch.

    Any two consecutive epochs show both sides of an image (Jordan 2024, section 3.6). The generator
    must be seeded alike in each epoch.
    """
    return (torch.rand(samples, generator=generator) < 0.5) ^ (epoch % 2 == 0)


def mirror(images: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
    """Flip the selected images (N, channels, height, width) horizontally."""
    return torch.where(which.to(images.device)[:, None, None, None], images.flip(3), images)


def translate(images: torch.Tensor, pixels: int, generator: torch.Generator) -> torch.Tensor:
    """Shift each image by up to ``pixels`` vertically and horizontally, padded with black.

    As in He et al. (2016), section 4.2.

    Parameters
    ----------
    images
        Shape (N, channels, height, width), uint8, on any device.
    generator
        On the CPU, so that the images are the same on every device.
    """
    return crop(functional.pad(images, (pixels,) * 4), images.shape[2:], generator)


def crop(images: torch.Tensor, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Crop a random window of ``shape`` (height, width) from each image."""
    samples = len(images)
    down, right = (
        torch.randint(0, pixels - side + 1, (samples,), generator=generator)
        for pixels, side in zip(images.shape[2:], shape, strict=True)
    )
    # A view of all windows of all images.
    windows = images.unfold(2, shape[0], 1).unfold(3, shape[1], 1)
    return windows[torch.arange(samples), :, down, right]


def cut_out(images: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Blacken a square of ``side`` pixels around a random centre in each image (cutout).

    The square may extend beyond the image (DeVries and Taylor 2017, section 3.2).
    """
    spans = []
    for pixels in images.shape[2:]:
        start = torch.randint(0, pixels, (len(images), 1), generator=generator) - side // 2
        spans.append(_span(start, side, pixels))
    return images.masked_fill(_rectangle(*spans).to(images.device), 0)


def cut_mix(
    images: torch.Tensor, most: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a rectangle of the previous image of the batch into each (CutMix, Yun et al. 2019).

    Parameters
    ----------
    most
        Largest share of an image that is covered. Each share is uniform in [0, ``most``].

    Returns
    -------
    tuple
        The images, and the uncovered share (N,) of each.
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
    """Label probabilities (N, C) of images mixed by :func:`cut_mix`, from labels (N,)."""
    share = own.to(labels.device)[:, None]
    certain = functional.one_hot(labels, classes).float()
    return share * certain + (1 - share) * certain.roll(1, 0)


def _span(start: torch.Tensor, side: torch.Tensor | int, pixels: int) -> torch.Tensor:
    """Mask (N, pixels) of the ``side`` pixels from ``start`` (N, 1) on."""
    position = torch.arange(pixels)
    return (position >= start) & (position < start + side)


def _rectangle(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Mask (N, 1, height, width) of the pixels in masked rows and columns."""
    return (rows[:, :, None] & columns[:, None, :])[:, None]


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": unchanged,
    "flip_translate": flip_translate,
    "alternating_flip_translate": alternating_flip_translate,
}
