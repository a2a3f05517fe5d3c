"""Image files as arrays, with one-line errors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO

import numpy as np

from early_exit.errors import InputError
from early_exit.io.images import MAX_PIXELS, ImageError, read_image
from early_exit.io.names import shown


def load_image(
    source: str | os.PathLike | IO[bytes], shape: Sequence[int], max_pixels: int | None = None
) -> np.ndarray:
    """An image file as uint8, shape (channels, height, width); see ``read_image``.

    Parameters
    ----------
    source
        A path or an open file; messages use its attribute ``name``.
    shape
        Channels (1 for grey, 3 for colour), height and width.
    max_pixels
        Images with more pixels are refused; ``None`` for the default limit.

    Raises
    ------
    InputError
        If it is missing, damaged, too large, or of an unknown format.
    """
    name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", "an image")
    try:
        return read_image(source, shape, max_pixels or MAX_PIXELS)
    except ImageError as error:
        named = shown(os.fspath(name)) or "''"
        raise InputError(f"{named}: no image that can be read ({error})") from error
