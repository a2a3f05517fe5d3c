"""Records as compact arrays for the browser: every uncertainty to the last bit.

An array is written a byte plane at a time (all first bytes, then all second ones ...), which gzip
compresses better, then compressed and coded in base64.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from early_exit.policy.criterion import ExitCriterion
from early_exit.records.table import Records

SEED = 0
# Bytes of all uncertainties together; 10,000 samples of two splits by three measures at ten exits
# have 2.16 million.
MOST_BYTES = 2_200_000


def rows_kept(records: Mapping[str, Records], measures: int) -> dict[str, np.ndarray | None]:
    """Rows of each split that fit on the page, at random by a fixed seed; ``None`` for all.

    Parameters
    ----------
    records
        Records by split, the most important first: a split takes what a later one does not need.
    measures
        Number of uncertainties of each sample and exit.
    """
    found: dict[str, np.ndarray | None] = {}
    left = MOST_BYTES
    for number, (split, own) in enumerate(records.items()):
        each = max(1, measures * max(1, own.exits - 1) * own.uncertainty.dtype.itemsize)
        later = sum(len(other) for other in list(records.values())[number + 1 :])
        share = left // (len(records) - number)
        most = max(1, max(share, left - each * later) // each)
        found[split] = None
        if len(own) > most:
            rows = np.random.default_rng(SEED).choice(len(own), most, replace=False)
            found[split] = np.sort(rows)
        left -= each * min(len(own), most)
    return found


def packed(array: np.ndarray) -> dict[str, str]:
    """An array as its ``type`` and its ``data``, which the page reads as one flat typed array."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    planes = little.reshape(-1).view(np.uint8).reshape(-1, array.dtype.itemsize).T
    # Without a time, equal arrays give equal files.
    data = gzip.compress(np.ascontiguousarray(planes).tobytes(), 9, mtime=0)
    return {"type": array.dtype.name, "data": base64.b64encode(data).decode("ascii")}


def unpacked(content: Mapping[str, str]) -> np.ndarray:
    """The flat array of :func:`packed`."""
    kind = np.dtype(content["type"])
    planes = np.frombuffer(gzip.decompress(base64.b64decode(content["data"])), np.uint8)
    return np.ascontiguousarray(planes.reshape(kind.itemsize, -1).T).reshape(-1).view(kind)


def packed_split(
    records: Records, criteria: Sequence[ExitCriterion], total: int | None = None
) -> dict[str, Any]:
    """A split for the page.

    Parameters
    ----------
    records
        N samples, with what the criteria need.
    total
        Number of samples that these were drawn from; by default N.

    Returns
    -------
    dict
        ``samples`` and ``of``; ``label`` (N,); ``prediction`` (K, N); for each criterion
        ``uncertainty`` (K-1, N) and, where a criterion has predictions of its own,
        ``predictions`` (K, N), else ``None``.
    """
    classes = np.uint8 if records.classes <= 256 else np.uint16
    uncertainty, predictions = [], []
    for criterion in criteria:
        unsure = criterion.uncertainty(records)[:, :-1]
        own = criterion.prediction(records)
        uncertainty.append(packed(unsure.T))
        same = np.array_equal(own, records.prediction)
        predictions.append(None if same else packed(own.T.astype(classes)))
    return {
        "samples": len(records),
        "of": total or len(records),
        "label": packed(records.label.astype(classes)),
        "prediction": packed(records.prediction.T.astype(classes)),
        "uncertainty": uncertainty,
        "predictions": predictions,
    }
