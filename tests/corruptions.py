"""Pictures made worse on the spot, after Hendrycks and Dietterich (2019, ImageNet-C).

Each takes pictures uint8 (N, channels, height, width) and one of three strengths.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

NOISE = (0.02, 0.05, 0.1)  # standard deviation, of a range of 1
BLUR = (0.4, 0.7, 1.0)  # standard deviation, in pixels
CONTRAST = (0.8, 0.6, 0.4)  # what is left of it


def noise(images: np.ndarray, strength: int) -> np.ndarray:
    """Gaussian noise on each value."""
    spread = 255 * NOISE[strength]
    return _rounded(images + np.random.default_rng(0).normal(0, spread, images.shape))


def blur(images: np.ndarray, strength: int) -> np.ndarray:
    """A Gaussian filter over each picture."""
    return _rounded(gaussian_filter(images.astype(float), (0, 0, BLUR[strength], BLUR[strength])))


def contrast(images: np.ndarray, strength: int) -> np.ndarray:
    """Each picture drawn towards its own mean."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return _rounded(mean + CONTRAST[strength] * (images - mean))


def _rounded(images: np.ndarray) -> np.ndarray:
    return images.round().clip(0, 255).astype(np.uint8)


KINDS = {"noise": noise, "blur": blur, "contrast": contrast}
