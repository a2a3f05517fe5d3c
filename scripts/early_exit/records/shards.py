"""Split the recording of a split into shards, and join them.

A network's outputs may differ in the last bits with the batch that an image is in. So shards
consist of complete batches, and the joined file equals that of a single pass, byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from early_exit.errors import AGAIN, InputError
from early_exit.records.parquet import (
    OPTIONAL,
    opened,
    regrouped,
    rows_in_group,
    schema,
    write_groups,
)
from early_exit.records.table import check_labels


def rows(samples: int, batch_size: int, shard: int, shards: int) -> slice:
    """Rows of a split for a shard, counted from 1: complete batches, shared evenly.

    Raises
    ------
    InputError
        If there are fewer batches than shards.
    """
    batches = -(-samples // batch_size)
    if shards > batches:
        raise InputError(
            f"exits.shards: {shards}, but a split of {samples} samples has {batches} batches of"
            f" {batch_size}",
            f"set it to {batches} or less",
        )
    first, last = (batches * part // shards * batch_size for part in (shard - 1, shard))
    return slice(first, min(last, samples))


def join(path: str | os.PathLike, parts: list[str | os.PathLike]) -> None:
    """Write a split's records from those of its shards, the same as from a single pass.

    At most one row group of a shard, one of the split and all indices are in memory.

    Parameters
    ----------
    parts
        Files of the shards, in order; their provenance has ``shard``, from 1, ``shards``, and the
        ``samples`` of the complete split.

    Raises
    ------
    InputError
        If a shard is damaged, out of order, or of another network or data than the first, or a
        sample is in two shards or in none.
    """
    provenance = _common_provenance(parts)
    samples = provenance.pop("samples", None)
    with opened(parts[0]) as (file, _):
        logits, confidence = (column in file.schema_arrow.names for column in OPTIONAL)
    form, rows = schema(provenance, logits, confidence), rows_in_group(provenance, logits)
    pieces = _pieces(parts, provenance["classes"], samples, str(path))
    write_groups(path, regrouped(pieces, form, rows), form)


def _common_provenance(parts: list[str | os.PathLike]) -> dict[str, Any]:
    first: dict[str, Any] = {}
    for number, part in enumerate(parts, start=1):
        with opened(part) as (_, found):
            provenance = dict(found)
        shard = (provenance.pop("shard", 1), provenance.pop("shards", 1))
        first = first or provenance
        if shard != (number, len(parts)) or provenance != first:
            raise InputError(
                f"{part}: shard {shard[0]} of {shard[1]}, but expected shard {number} of"
                f" {len(parts)} with the same network and data as {parts[0]}",
                AGAIN,
            )
    return {key: value for key, value in first.items() if key != "format"}


def _pieces(
    parts: list[str | os.PathLike], classes: int, samples: int, where: str
) -> Iterator[pa.Table]:
    """Row groups of all shards in order; labels and indices are checked at the end."""
    labels, indices = [], []
    for part in parts:
        with opened(part) as (file, _):
            for group in range(file.num_row_groups):
                piece = file.read_row_group(group)
                labels.append(np.unique(piece["label"].to_numpy()))
                indices.append(piece["index"].to_numpy())
                yield piece
    check_labels(np.concatenate(labels), classes, where, whole=True)
    _check_indices(np.concatenate(indices), samples, parts)


def _check_indices(indices: np.ndarray, samples: int, parts: list[str | os.PathLike]) -> None:
    """Check that indices (N,) are unique and as many as the split has samples."""
    different = len(np.unique(indices))
    if not len(indices) == different == samples:
        raise InputError(
            f"{parts[0]} and the other shards: have {len(indices)} samples, {different} of them"
            f" different, instead of {samples}, as if made with different inference.batch_size",
            "delete them and run again",
        )
