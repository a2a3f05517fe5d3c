"""A split that is recorded in shards: which samples each one takes, and how they are joined.

A network's results may differ in the last bits with the batch that a picture is in. So shards are
whole batches, and what is joined equals what one pass records, to the byte.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from early_exit.errors import InputError
from early_exit.records import ROWS, check_labels, opened, schema, write_groups


def rows(samples: int, batch_size: int, shard: int, shards: int) -> slice:
    """The samples of a split that a shard, counted from 1, takes: whole batches, shared evenly.

    Raises
    ------
    InputError
        If there are fewer batches than shards.
    """
    batches = -(-samples // batch_size)
    if shards > batches:
        raise InputError(
            f"exits.shards: {shards}, but a split of {samples} samples has {batches} batches of"
            f" {batch_size}; set it to {batches} or less"
        )
    first, last = (batches * part // shards * batch_size for part in (shard - 1, shard))
    return slice(first, min(last, samples))


def join(path: str | os.PathLike, parts: list[str | os.PathLike]) -> None:
    """Write a split's records from those of its shards, as if they had been made in one go.

    No more than a row group of a shard, and one of the whole, is in memory at a time, and the
    samples' places in the data set.

    Parameters
    ----------
    parts
        The shards' files, in order; their identities say ``shard``, from 1, ``shards``, and the
        ``samples`` of the whole split.

    Raises
    ------
    InputError
        If a shard is damaged, not the one that belongs there, or of another network or data than
        the first; or if a sample is in two of them, or in none.
    """
    identity = _identity_of_whole(parts)
    samples = identity.pop("samples", None)
    with opened(parts[0]) as (file, _):
        form = schema(identity, "logits_1" in file.schema_arrow.names)
    pieces = _pieces(parts, identity["classes"], samples, str(path))
    write_groups(path, _regrouped(pieces, form), form)


def _identity_of_whole(parts: list[str | os.PathLike]) -> dict[str, Any]:
    first: dict[str, Any] = {}
    for number, part in enumerate(parts, start=1):
        with opened(part) as (_, found):
            identity = dict(found)
        place = (identity.pop("shard", 1), identity.pop("shards", 1))
        first = first or identity
        if place != (number, len(parts)) or identity != first:
            raise InputError(
                f"{part}: shard {place[0]} of {place[1]}, where shard {number} of {len(parts)}"
                f" belongs, of the same network and data as {parts[0]}; delete it and run again"
            )
    return {key: value for key, value in first.items() if key != "format"}


def _pieces(
    parts: list[str | os.PathLike], classes: int, samples: int, where: str
) -> Iterator[pa.Table]:
    """The row groups of all shards, in order; at the end, whether labels and places make sense."""
    labels, places = [], []
    for part in parts:
        with opened(part) as (file, _):
            for group in range(file.num_row_groups):
                piece = file.read_row_group(group)
                labels.append(np.unique(piece["label"].to_numpy()))
                places.append(piece["index"].to_numpy())
                yield piece
    check_labels(np.concatenate(labels), classes, where, whole=True)
    _check_places(np.concatenate(places), samples, parts)


def _check_places(places: np.ndarray, samples: int, parts: list[str | os.PathLike]) -> None:
    """Refuse places (N,) in the data set that are not those of so many samples, each once."""
    different = len(np.unique(places))
    if not len(places) == different == samples:
        raise InputError(
            f"{parts[0]} and the other shards: hold {len(places)} samples, {different} of them"
            f" different, of {samples}, as shards do that were made with different"
            " inference.batch_size; delete them and run again"
        )


def _regrouped(pieces: Iterable[pa.Table], form: pa.Schema) -> Iterator[pa.Table]:
    """The rows of all pieces in tables of ROWS rows, the last one shorter."""
    held = form.empty_table()
    for piece in pieces:
        held = pa.concat_tables([held, piece.cast(form)])
        while len(held) >= ROWS:
            yield held.slice(0, ROWS)
            held = held.slice(ROWS)
    if len(held):
        yield held
