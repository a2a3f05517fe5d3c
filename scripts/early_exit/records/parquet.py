"""Read and write records as Parquet, at most a row group at a time.

Page checksums cover the columns, and a checksum in the metadata covers the provenance.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from early_exit.errors import AGAIN, InputError, reason_of
from early_exit.io.files import CHECKSUM, replacing
from early_exit.records.table import VALUES, Key, Records, check_labels, is_external, joined
from early_exit.records.uncertainty.measures import RENAMED, available

FORMAT = 1
# Its key in files written before 0.2.0.
FORMER_CHECKSUM = "seal"
METADATA_KEY = b"early_exit"
# Most rows in a row group; fewer with many logits.
ROWS = 65_536
# Columns that not all files have.
OPTIONAL = ("logits_1", "confidence_1")
# Bytes of a column to read ahead.
BUFFER = 2**20


def rows_in_group(provenance: dict[str, Any], logits: bool) -> int:
    """Number of rows in a row group."""
    values = provenance["exits"] * provenance["classes"] if logits else 1
    return min(ROWS, max(1, VALUES // values))


def write_records(path: str | os.PathLike, records: Records) -> None:
    """Write records as Parquet, with page checksums and the provenance in the file's metadata."""
    logits, confidence = records.logits is not None, records.confidence is not None
    write_pieces(path, [records], records.provenance, logits, confidence)


def write_pieces(
    path: str | os.PathLike,
    pieces: Iterable[Records],
    provenance: dict[str, Any],
    logits: bool,
    confidence: bool = False,
) -> None:
    """As :func:`write_records`, from consecutive pieces of any length."""
    form = schema(provenance, logits, confidence)
    rows = rows_in_group(provenance, logits)
    tables = (_table(part, form) for piece in pieces for part in piece.pieces(rows))
    write_groups(path, regrouped(tables, form, rows), form)


def regrouped(pieces: Iterable[pa.Table], form: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """Rows of all pieces in tables of ``rows`` rows each, the last one shorter."""
    held = form.empty_table()
    for piece in pieces:
        held = pa.concat_tables([held, piece.cast(form)])
        while len(held) >= rows:
            yield held.slice(0, rows)
            held = held.slice(rows)
    if len(held):
        yield held


def _table(records: Records, form: pa.Schema) -> pa.Table:
    columns: list[Any] = [records.index, records.label]
    for k in range(records.exits):
        columns += [records.uncertainty[:, k], records.prediction[:, k]]
        if records.confidence is not None:
            columns.append(records.confidence[:, k])
        if records.logits is not None:
            flat = pa.array(records.logits[:, k].ravel(), pa.float32())
            columns.append(pa.FixedSizeListArray.from_arrays(flat, records.classes))
    arrays = [pa.array(column, field.type) for column, field in zip(columns, form, strict=True)]
    return pa.table(arrays, schema=form)


def schema(provenance: dict[str, Any], logits: bool, confidence: bool = False) -> pa.Schema:
    """Schema of a file of records, with the provenance as metadata.

    For each exit k, from 1, there is an uncertainty (``entropy_k``) and a ``prediction_k``; of a
    network whose heads return one, a ``confidence_k``; and, if they are kept, ``logits_k``.
    """
    fields: list[tuple[str, pa.DataType]] = [("index", pa.int64()), ("label", pa.int16())]
    name, kind = _recorded(provenance)
    for k in range(1, provenance["exits"] + 1):
        fields += [(f"{name}_{k}", kind), (f"prediction_{k}", pa.int16())]
        if confidence:
            fields.append((f"confidence_{k}", pa.float32()))
        if logits:
            fields.append((f"logits_{k}", pa.list_(pa.float32(), provenance["classes"])))
    own = {"format": FORMAT} | provenance
    text = json.dumps(own | {CHECKSUM: _checksum(own)}, sort_keys=True)
    return pa.schema(fields, metadata={METADATA_KEY: text.encode()})


def _recorded(provenance: dict[str, Any]) -> tuple[str, pa.DataType]:
    """Name and type of the columns of recorded uncertainties."""
    return ("uncertainty", pa.float64()) if is_external(provenance) else ("entropy", pa.float32())


def _checksum(provenance: dict[str, Any]) -> str:
    """SHA-256 of the provenance, which page checksums do not cover."""
    return hashlib.sha256(json.dumps(provenance, sort_keys=True).encode()).hexdigest()


def write_groups(path: str | os.PathLike, groups: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write each of ``groups``, tables of at most ``ROWS`` rows, as one row group."""
    options = {"write_page_checksum": True, "compression": "zstd"}
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        for group in groups:
            # In one chunk, so that the bytes depend only on the rows.
            writer.write_table(group.combine_chunks(), row_group_size=ROWS)


def read_records(path: str | os.PathLike, logits: bool = False, labelled: bool = True) -> Records:
    """Read records and verify their page checksums; ``logits`` are read on request.

    Unless ``labelled``, labels may be ``UNKNOWN``, and all samples of one class.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another format, or its columns do not match.
    """
    with opened(path) as (file, provenance):
        table = file.read(columns=_names(file, provenance, logits, path))
    return _from_table(table, provenance, logits, str(path), labelled, labelled)


def read_computed(path: str | os.PathLike, keys: Sequence[Key], labelled: bool = True) -> Records:
    """As :func:`read_records`, with uncertainties computed from logits, which are not kept.

    Parameters
    ----------
    keys
        The measures and temperatures of these uncertainties.
    """
    pieces = read_pieces(path, logits=True, labelled=labelled)
    records = joined(piece.without_logits(*keys) for piece in pieces)
    whole = labelled and not records.external
    check_labels(records.label, records.classes, str(path), whole, labelled)
    return records


def read_pieces(
    path: str | os.PathLike,
    logits: bool = False,
    part: int = 1,
    parts: int = 1,
    labelled: bool = True,
) -> Iterator[Records]:
    """As :func:`read_records`, a row group at a time and in order.

    A piece may have samples of one class only, which a complete split may not. With several
    ``parts`` only the one with the number ``part``, from 1, is read; it may be empty. Larger row
    groups of logits, which earlier versions wrote, are read in pieces.
    """
    with opened(path) as (file, provenance):
        names = _names(file, provenance, logits, path)
        first, last = (file.num_row_groups * number // parts for number in (part - 1, part))
        rows, groups = rows_in_group(provenance, logits), range(first, last)
        for group in groups:
            seen = 0
            for batch in file.iter_batches(rows, [group], names):
                seen += len(batch)
                table = pa.Table.from_batches([batch])
                yield _from_table(table, provenance, logits, str(path), False, labelled)
            # Of a damaged row group pyarrow may return fewer rows, or none, without an error.
            if seen != file.metadata.row_group(group).num_rows:
                raise InputError(
                    f"{path}: damaged: only {seen} rows of row group {group} can be read",
                    AGAIN,
                )


def read_exit(path: str | os.PathLike, exit: int) -> np.ndarray:
    """Logits (N, C) of one exit, from 1; errors as of :func:`read_records`."""
    name = f"logits_{exit}"
    with opened(path) as (file, provenance):
        _names(file, provenance, True, path)
        rows = rows_in_group(provenance, True)
        return np.concatenate(
            [_lists(batch[name]) for batch in file.iter_batches(rows, columns=[name])]
        )


def available_measures(path: str | os.PathLike, wanted: Sequence[str]) -> list[str]:
    """Those of the ``wanted`` measures that a file of records allows.

    See :func:`early_exit.records.uncertainty.measures.available`.
    """
    with opened(path) as (file, provenance):
        logits, confidence = (column in file.schema_arrow.names for column in OPTIONAL)
        return available(wanted, is_external(provenance), logits, confidence)


def read_provenance(path: str | os.PathLike) -> dict[str, Any]:
    """Provenance of a file of records; errors as of :func:`read_records`."""
    with opened(path) as (_, provenance):
        return provenance


@contextmanager
def opened(path: str | os.PathLike) -> Iterator[tuple[pq.ParquetFile, dict[str, Any]]]:
    """Open a file of records, with its provenance; errors while reading become InputErrors."""
    try:
        # By default pyarrow reads a row group's complete columns ahead.
        options = {"page_checksum_verification": True, "buffer_size": BUFFER, "pre_buffer": False}
        with pq.ParquetFile(path, **options) as file:
            yield file, _provenance(file.schema_arrow.metadata or {})
    except KeyError as error:
        raise InputError(f"{path}: Parquet, but not records ({error} missing)", AGAIN) from error
    except (OSError, ValueError, RecursionError, pa.ArrowException) as error:
        raise InputError(f"{path}: damaged or not Parquet ({reason_of(error)})", AGAIN) from error


def _provenance(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """Provenance in a file's metadata, after verifying its checksum."""
    provenance = json.loads(metadata[METADATA_KEY])
    if not isinstance(provenance, dict):
        raise ValueError("its metadata have no provenance")
    former = provenance.pop(FORMER_CHECKSUM, None)
    if provenance.pop(CHECKSUM, former) != _checksum(provenance):
        raise ValueError("the checksum of its metadata does not match")
    numbers = (provenance[key] for key in ("format", "exits", "classes"))
    if not all(type(number) is int and number > 0 for number in numbers):
        raise ValueError("its metadata have no number of exits and classes")
    for former, name in RENAMED.items():
        if provenance.get("measure") == former:
            provenance["measure"] = name
    return provenance


def _names(
    file: pq.ParquetFile, provenance: dict[str, Any], logits: bool, path: str | os.PathLike
) -> list[str]:
    """Names of the columns to read, after checking that they exist with the right types."""
    there = file.schema_arrow
    wrong = InputError(
        f"{path}: not the columns of format {FORMAT} for {provenance['exits']} exits",
        AGAIN,
    )
    # Damaged metadata may claim any number of exits.
    if provenance["format"] != FORMAT or provenance["exits"] > len(there.names):
        raise wrong
    if f"{_recorded(provenance)[0]}_{provenance['exits'] + 1}" in there.names:
        raise wrong
    if logits and "logits_1" not in there.names:
        raise InputError(
            f"{path}: has no logits, but they are needed",
            "set exits.logits to always and run again",
        )
    form = schema(provenance, logits, "confidence_1" in there.names)
    for name in form.names:
        found = there.get_all_field_indices(name)
        if len(found) != 1 or there.types[found[0]] != form.field(name).type:
            raise wrong
    return form.names


def _from_table(
    table: pa.Table,
    provenance: dict[str, Any],
    logits: bool,
    where: str,
    whole: bool = True,
    labelled: bool = True,
) -> Records:
    exits = range(1, provenance["exits"] + 1)
    if any(column.null_count for column in table.columns):
        raise InputError(f"{where}: has empty cells", AGAIN)

    def stack(name: str, dtype: type) -> np.ndarray:
        return np.stack([table[f"{name}_{k}"].to_numpy() for k in exits], axis=1).astype(dtype)

    kept = None
    if logits:
        columns = [table[f"logits_{k}"].combine_chunks() for k in exits]
        kept = np.stack([_lists(column) for column in columns], axis=1)
    label = table["label"].to_numpy().astype(np.int64)
    # All labels of records with external uncertainties are equal.
    check_labels(
        label, provenance["classes"], where, whole and not is_external(provenance), labelled
    )
    name, kind = _recorded(provenance)
    uncertainty = stack(name, kind.to_pandas_dtype())
    if not np.isfinite(uncertainty).all():
        raise InputError(f"{where}: an {name} is NaN or infinite", AGAIN)
    confidence = None
    if "confidence_1" in table.column_names:
        confidence = stack("confidence", np.float32)
        if not np.isfinite(confidence).all():
            raise InputError(f"{where}: a confidence is NaN or infinite", AGAIN)
    index, prediction = table["index"].to_numpy(), stack("prediction", np.int64)
    return Records(index, label, uncertainty, prediction, kept, provenance, confidence=confidence)


def _lists(column: Any) -> np.ndarray:
    """A column of lists of equal length as an array (N, C)."""
    return column.flatten().to_numpy().reshape(len(column), -1)
