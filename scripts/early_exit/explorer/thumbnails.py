"""Thumbnails of some samples, as one picture: at most a hundred, wrong ones among them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from early_exit.records.table import Records

SEED = 0
MOST, COLUMNS = 96, 12
# Pixels of a thumbnail's longer side.
SIDE = 48


def chosen_rows(records: Records, rows: np.ndarray | None = None, most: int = MOST) -> np.ndarray:
    """Positions of samples to show, ascending: easy and hard ones, by a fixed seed.

    Samples are grouped by how many exits are right; each group gets the same number, so that all
    are seen wherever thresholds are set.

    Parameters
    ----------
    rows
        Positions to choose from; by default all.
    """
    rows = np.arange(len(records)) if rows is None else rows
    right = records.correct[rows].sum(axis=1)
    order = np.random.default_rng(SEED).permutation(len(rows))
    rank = np.empty(len(rows), int)
    for number in np.unique(right):
        own = order[right[order] == number]
        rank[own] = np.arange(len(own))
    # Take the first of each group, then the second of each, and so on.
    return np.sort(rows[np.lexsort((order, rank))[:most]])


def sprite(images: np.ndarray) -> dict[str, Any]:
    """Images (n, channels, height, width), uint8, as one JPEG.

    Returns
    -------
    dict
        ``data``, a data URI; ``columns``; ``width`` and ``height`` of a thumbnail in pixels.
    """
    from PIL import Image

    # One channel is grey; of any other number but three the first is shown.
    images = images if images.shape[1] == 3 else images[:, :1]
    height, width = images.shape[2:]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    lines = -(-len(images) // COLUMNS)
    whole = Image.new("RGB", (COLUMNS * size[0], lines * size[1]))
    for number, image in enumerate(images):
        one = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)).squeeze())
        one = one.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        line, column = divmod(number, COLUMNS)
        whole.paste(one, (column * size[0], line * size[1]))
    file = io.BytesIO()
    whole.save(file, "JPEG", quality=88)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return {
        "data": f"data:image/jpeg;base64,{data}",
        "columns": COLUMNS,
        "width": size[0],
        "height": size[1],
    }
