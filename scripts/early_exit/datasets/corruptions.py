"""Corruptions of images: noise, blur and low contrast, at three strengths.

After Hendrycks and Dietterich (2019, Benchmarking neural network robustness to common corruptions
and perturbations), with strengths for small images. Each takes images uint8
(N, channels, height, width) and a strength, 0 to 2, and returns images of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

NOISE = (0.02, 0.05, 0.1)  # standard deviation, of a range of 1
BLUR = (0.4, 0.7, 1.0)  # standard deviation, in pixels
CONTRAST = (0.8, 0.6, 0.4)  # the remaining share
STRENGTHS = len(NOISE)
# Images that are changed at a time.
PIECE = 256


def noise(images: np.ndarray, strength: int) -> np.ndarray:
    """Gaussian noise on each value, drawn with a fixed seed."""
    rng, spread = np.random.default_rng(0), 255 * NOISE[strength]
    return _in_pieces(images, lambda piece: piece + rng.normal(0, spread, piece.shape))


def blur(images: np.ndarray, strength: int) -> np.ndarray:
    """A Gaussian filter over each image."""
    widths = (0, 0, BLUR[strength], BLUR[strength])
    return _in_pieces(images, lambda piece: gaussian_filter(piece.astype(float), widths))


def contrast(images: np.ndarray, strength: int) -> np.ndarray:
    """Lower contrast: each image is blended with its mean."""

    def blended(piece: np.ndarray) -> np.ndarray:
        mean = piece.mean(axis=(1, 2, 3), keepdims=True)
        return mean + CONTRAST[strength] * (piece - mean)

    return _in_pieces(images, blended)


def _in_pieces(images: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Images changed a piece at a time: in double precision all would take eight times as much."""
    changed = np.empty_like(images)
    for start in range(0, len(images), PIECE):
        rows = slice(start, start + PIECE)
        changed[rows] = change(images[rows]).round().clip(0, 255)
    return changed


KINDS = {"noise": noise, "blur": blur, "contrast": contrast}
