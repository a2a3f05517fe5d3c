"""Picture files as arrays: the one way in which every part of the project reads them."""

from __future__ import annotations

import os
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from early_exit.errors import InputError

# Channels, and Pillow's name for such pictures.
MODES = {1: "L", 3: "RGB"}


def read_picture(source: str | os.PathLike | IO[bytes], shape: list[int]) -> np.ndarray:
    """Read a picture; the largest part from its centre that has the right shape is resized.

    Parameters
    ----------
    source
        A file, or what one holds, in any format that Pillow reads. It is turned as its camera says.
    shape
        Channels (1 is grey, 3 colour), height and width.

    Returns
    -------
    numpy.ndarray
        Shape (channels, height, width), uint8.

    Raises
    ------
    InputError
        If it is missing, damaged or no picture.
    """
    channels, height, width = shape
    name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", "a picture")
    try:
        with Image.open(source) as opened:
            picture = ImageOps.exif_transpose(opened).convert(MODES[channels])
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    # What a damaged file makes a decoder raise is not one type.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{name}: no picture that can be read ({reason})") from error
    return np.asarray(picture).reshape(height, width, channels).transpose(2, 0, 1)
