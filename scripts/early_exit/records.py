"""The per-exit table: what every exit said of every sample, kept in Parquet.

A row is a sample, in the order of the data set. Everything after extraction is array work on it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from early_exit import uncertainty as measures
from early_exit.errors import InputError
from early_exit.files import SEAL, replacing
from early_exit.uncertainty import RECORDED
from early_exit.uncertainty import entropy as entropy_measure

FORMAT = 1
METADATA_KEY = b"early_exit"
# The measure of records that came with an uncertainty of their own.
GIVEN = "given"
# The arrays of records, with a row for each sample.
COLUMNS = ("index", "label", "entropy", "prediction", "logits")
# Rows in a row group, the piece in which a table is written and can be read.
ROWS = 65_536
# The label of a sample whose class nobody knows. Only what watches for drift takes such records.
UNKNOWN = -1


@dataclass(frozen=True)
class Records:
    """What K exits said of N samples of C classes.

    Attributes
    ----------
    index
        Shape (N,), the sample's place in the source data set.
    label
        Shape (N,), the true class; -1 where it is not known.
    entropy
        Shape (N, K), nats, float32.
    prediction
        Shape (N, K), the class each exit gives.
    logits
        Shape (N, K, C), float32, or ``None`` where they were not read.
    identity
        What made the table: ``network``, ``data``, ``split``, ``classes``, ``exits``.

    Notes
    -----
    Records from elsewhere may say only how unsure each exit is, in a unit of its own, and whether
    it is right. Their identity says ``measure: given`` and the ``span``, the least and the largest
    of the calibration split. ``entropy`` then holds that uncertainty, in double precision, in the
    file as ``uncertainty_k``. Right and wrong are two classes: every ``label`` is 1, and so is a
    ``prediction`` that is right; one that is wrong is 0.
    """

    index: np.ndarray
    label: np.ndarray
    entropy: np.ndarray
    prediction: np.ndarray
    logits: np.ndarray | None
    identity: dict[str, Any]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def exits(self) -> int:
        """K, the number of exits."""
        return self.entropy.shape[1]

    @property
    def classes(self) -> int:
        """C, the number of classes."""
        return self.identity["classes"]

    @property
    def given(self) -> bool:
        """Whether they hold an uncertainty of their own, and only right or wrong for classes."""
        return is_given(self.identity)

    @property
    def correct(self) -> np.ndarray:
        """Shape (N, K), whether each exit is right."""
        return self.prediction == self.label[:, None]

    def select(self, rows: np.ndarray) -> Records:
        """The samples at ``rows``."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        return replace(
            self, **{name: own[rows] for name, own in columns.items() if own is not None}
        )

    def check_measure(self, measure: str) -> None:
        """Refuse a measure that is not what the records hold, or needs logits where there are none.

        Raises
        ------
        InputError
            Saying what they hold.
        """
        if self.given != (measure == GIVEN):
            held = "an uncertainty of their own" if self.given else "entropies or logits"
            right = GIVEN if self.given else "entropy"
            raise InputError(
                f"records: hold {held}, not the measure {measure}; set measure to {right}"
            )
        if measure not in RECORDED and self.logits is None:
            raise InputError(f"records: the measure {measure} needs logits, which were not read")

    def uncertainty(
        self, measure: str, temperatures: tuple[float, ...] | None = None
    ) -> np.ndarray:
        """Uncertainties by the measure's name, shape (N, K), low is sure.

        ``temperatures`` divide each exit's logits first.

        Raises
        ------
        InputError
            If the measure needs logits and they were not read, or if it is not what the records
            hold.
        """
        self.check_measure(measure)
        if measure in RECORDED and temperatures is None:
            return self.entropy
        if self.logits is None:
            raise InputError("records: temperatures need logits, which were not read")
        logits = self.logits.astype(np.float64)
        if temperatures is not None:
            logits /= np.asarray(temperatures)[:, None]
        return measures.measure(measure)(logits).astype(np.float32)


def is_given(identity: dict[str, Any]) -> bool:
    """Whether records of this identity hold an uncertainty of their own."""
    return identity.get("measure") == GIVEN


def from_logits(
    index: np.ndarray,
    label: np.ndarray,
    logits: np.ndarray,
    identity: dict[str, Any],
    whole: bool = True,
    labelled: bool = True,
) -> Records:
    """Records from every exit's logits, shape (N, K, C).

    Parameters
    ----------
    whole
        Whether this is a whole split; a part of one may well hold a single class.
    labelled
        Whether every label must be known; else it may be ``UNKNOWN``.

    Raises
    ------
    InputError
        If a logit is not finite, the shapes do not fit, or a whole split holds one class only.
    """
    where = f"records of split {identity.get('split', '?')}"
    if logits.ndim != 3 or len(logits) != len(label) or len(index) != len(label):
        raise InputError(
            f"{where}: logits of shape {logits.shape} for {len(label)} labels; expected (N, K, C)"
        )
    _check_logits(index, logits, where)
    check_labels(label, logits.shape[2], where, whole, labelled)
    identity = identity | {"classes": logits.shape[2], "exits": logits.shape[1]}
    return Records(
        np.asarray(index, np.int64),
        np.asarray(label, np.int64),
        _entropies(logits),
        logits.argmax(axis=2).astype(np.int64),
        logits.astype(np.float32, copy=False),
        identity,
    )


def from_given(
    index: np.ndarray, uncertainty: np.ndarray, correct: np.ndarray, identity: dict[str, Any]
) -> Records:
    """Records that say how unsure each exit is, and whether it is right, both shape (N, K)."""
    identity = identity | {"measure": GIVEN, "classes": 2, "exits": uncertainty.shape[1]}
    label = np.ones(len(index), np.int64)
    return Records(
        np.asarray(index, np.int64),
        label,
        np.asarray(uncertainty, np.float64),
        np.asarray(correct, np.int64),
        None,
        identity,
    )


def _check_logits(index: np.ndarray, logits: np.ndarray, where: str) -> None:
    bad = ~np.isfinite(logits).all(axis=(1, 2))
    if bad.any():
        exit_number = 1 + int((~np.isfinite(logits[bad][0])).any(axis=1).argmax())
        raise InputError(
            f"{where}: logits of {int(bad.sum())} samples are NaN or infinite, first sample"
            f" {int(index[bad][0])} at exit {exit_number}; the checkpoint's weights or the"
            " network's training have diverged: use another checkpoint or a lower learning rate"
        )


def _entropies(logits: np.ndarray) -> np.ndarray:
    """Entropies (N, K) of logits (N, K, C), a piece at a time: float64 takes much memory."""
    entropy = np.empty(logits.shape[:2], np.float32)
    for start in range(0, len(logits), ROWS):
        rows = slice(start, start + ROWS)
        entropy[rows] = entropy_measure.uncertainty(logits[rows].astype(np.float64))
    return entropy


def write_records(path: str | os.PathLike, records: Records) -> None:
    """Write records as Parquet, with page checksums and the identity in the file's metadata."""
    table = _table(records)
    write_groups(
        path, (table.slice(start, ROWS) for start in range(0, len(table), ROWS)), table.schema
    )


def _table(records: Records) -> pa.Table:
    columns: list[Any] = [records.index, records.label]
    for k in range(records.exits):
        columns += [records.entropy[:, k], records.prediction[:, k]]
        if records.logits is not None:
            flat = pa.array(records.logits[:, k].ravel(), pa.float32())
            columns.append(pa.FixedSizeListArray.from_arrays(flat, records.classes))
    form = schema(records.identity, records.logits is not None)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, form, strict=True)]
    return pa.table(arrays, schema=form)


def schema(identity: dict[str, Any], logits: bool) -> pa.Schema:
    """The columns of a file of records, and its identity as metadata."""
    fields: list[tuple[str, pa.DataType]] = [("index", pa.int64()), ("label", pa.int16())]
    name, kind = _recorded(identity)
    for k in range(1, identity["exits"] + 1):
        fields += [(f"{name}_{k}", kind), (f"prediction_{k}", pa.int16())]
        if logits:
            fields.append((f"logits_{k}", pa.list_(pa.float32(), identity["classes"])))
    own = {"format": FORMAT} | identity
    text = json.dumps(own | {SEAL: _seal(own)}, sort_keys=True)
    return pa.schema(fields, metadata={METADATA_KEY: text.encode()})


def _recorded(identity: dict[str, Any]) -> tuple[str, pa.DataType]:
    """What the columns of the recorded uncertainty are called, and their type."""
    return ("uncertainty", pa.float64()) if is_given(identity) else ("entropy", pa.float32())


def _seal(identity: dict[str, Any]) -> str:
    """SHA-256 of what page checksums do not cover."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def write_groups(path: str | os.PathLike, groups: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write each of ``groups``, tables of at most ROWS rows, as one row group."""
    options = {"write_page_checksum": True, "compression": "zstd"}
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, **options) as writer:
        for group in groups:
            # In one chunk, however it was put together: the bytes shall depend on the rows alone.
            writer.write_table(group.combine_chunks(), row_group_size=ROWS)


def read_records(path: str | os.PathLike, logits: bool = False, labelled: bool = True) -> Records:
    """Read records, the page checksums verified; ``logits`` only where asked for.

    Unless ``labelled``, labels may be ``UNKNOWN``, and all samples of one class.

    Raises
    ------
    InputError
        If the file is missing, damaged, of another format, or its columns do not fit.
    """
    with opened(path) as (file, identity):
        table = file.read(columns=_names(file, identity, logits, path))
    return _from_table(table, identity, logits, str(path), labelled, labelled)


def read_pieces(
    path: str | os.PathLike, logits: bool = False, part: int = 1, parts: int = 1
) -> Iterator[Records]:
    """Read records a row group at a time, in order; as :func:`read_records` otherwise.

    A piece may hold samples of one class only, which a whole split may not. Of several ``parts`` of
    the file only the one with the number ``part``, from 1, is read; it may be empty.
    """
    with opened(path) as (file, identity):
        names = _names(file, identity, logits, path)
        first, last = (file.num_row_groups * number // parts for number in (part - 1, part))
        for group in range(first, last):
            table = file.read_row_group(group, columns=names)
            yield _from_table(table, identity, logits, str(path), whole=False)


def read_identity(path: str | os.PathLike) -> dict[str, Any]:
    """The identity of a file of records, nothing else of it; errors as of :func:`read_records`."""
    with opened(path) as (_, identity):
        return identity


@contextmanager
def opened(path: str | os.PathLike) -> Iterator[tuple[pq.ParquetFile, dict[str, Any]]]:
    """A file of records and its identity; what goes wrong while it is read is told in one line."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            identity = json.loads((file.schema_arrow.metadata or {})[METADATA_KEY])
            if identity.pop(SEAL) != _seal(identity):
                raise ValueError("the seal of its metadata does not fit")
            yield file, identity
    except KeyError as error:
        raise InputError(
            f"{path}: Parquet, but no records ({error} missing); delete it and run again"
        ) from error
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{path}: damaged or no Parquet ({reason}); delete it and run again"
        ) from error


def _names(
    file: pq.ParquetFile, identity: dict[str, Any], logits: bool, path: str | os.PathLike
) -> list[str]:
    """The columns to read, all of which must be there."""
    exits = range(1, identity["exits"] + 1)
    names = ["index", "label"]
    recorded = _recorded(identity)[0]
    names += [f"{name}_{k}" for k in exits for name in (recorded, "prediction")]
    there = set(file.schema_arrow.names)
    if identity["format"] != FORMAT or set(names) - there:
        raise InputError(
            f"{path}: not the columns of format {FORMAT} for {identity['exits']} exits; delete it"
            " and run again"
        )
    of_logits = [f"logits_{k}" for k in exits] if logits else []
    if set(of_logits) - there:
        raise InputError(
            f"{path}: has no logits, which are needed; set exits.logits to always and run again"
        )
    return names + of_logits


def _from_table(
    table: pa.Table,
    identity: dict[str, Any],
    logits: bool,
    where: str,
    whole: bool = True,
    labelled: bool = True,
) -> Records:
    exits = range(1, identity["exits"] + 1)

    def stack(name: str, dtype: type) -> np.ndarray:
        return np.stack([table[f"{name}_{k}"].to_numpy() for k in exits], axis=1).astype(dtype)

    kept = None
    if logits:
        columns = [table[f"logits_{k}"].combine_chunks() for k in exits]
        flat = [column.flatten().to_numpy().reshape(len(table), -1) for column in columns]
        kept = np.stack(flat, axis=1)
    label = table["label"].to_numpy().astype(np.int64)
    # All labels of records with an uncertainty of their own are alike.
    check_labels(label, identity["classes"], where, whole and not is_given(identity), labelled)
    name, kind = _recorded(identity)
    entropy = stack(name, kind.to_pandas_dtype())
    if not np.isfinite(entropy).all():
        raise InputError(f"{where}: an {name} is NaN or infinite; delete it and run again")
    index = table["index"].to_numpy()
    return Records(index, label, entropy, stack("prediction", np.int64), kept, identity)


def check_labels(
    label: np.ndarray, classes: int, where: str, whole: bool, labelled: bool = True
) -> None:
    """Refuse labels (N,) that are none, no classes', or, of a whole split, all the same."""
    if len(label) == 0:
        raise InputError(f"{where}: no samples; give the split some in the data set's settings")
    if label.min() < (0 if labelled else UNKNOWN) or label.max() >= classes:
        raise InputError(
            f"{where}: labels from {label.min()} to {label.max()}, but {classes} classes"
            " (labels are numbers from 0); check the data set, the network's classes, or"
            " records.class_names"
        )
    if whole and label.min() == label.max():
        raise InputError(
            f"{where}: all {len(label)} samples are of class {label[0]}, so accuracy and thresholds"
            " would mean nothing; check the labels, or give the split more samples"
        )
