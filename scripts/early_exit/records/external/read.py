"""Read and check external records, a piece at a time.

They are outputs of a network outside this workflow, in `.npz` or Parquet, with a row for each
sample, exits 1 to K and classes 0 to C-1. A file contains one of

``logits``
    `.npz`: ``logits`` (N, K, C) and ``labels`` (N,). Parquet: ``label`` and lists ``logits_k``.
``entropy``
    Parquet: ``label``, and ``entropy_k`` (nats) and ``prediction_k``.
``external``
    `.npz`: ``uncertainty`` (N, K), low is sure, and ``correct`` (N, K). Parquet: ``uncertainty_k``
    and ``correct_k``.

and may have an ``index`` (N,). The first bytes decide the format. Parquet files of this project are
accepted too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from early_exit.errors import InputError, plain
from early_exit.records.external import axes
from early_exit.records.external.columns import MOST_EXITS, Npz, Parquet, readable
from early_exit.records.external.files import is_parquet
from early_exit.records.parquet import METADATA_KEY, read_pieces, read_records
from early_exit.records.table import (
    UNKNOWN,
    Key,
    Records,
    check_labels,
    from_external,
    from_logits,
    joined,
    rows_at_a_time,
)

# Arrays of each kind, by their names in `.npz`; `index` and the last of each may be missing.
KINDS = {
    "logits": ("logits", "labels"),
    "entropy": ("entropy", "prediction", "labels"),
    "external": ("uncertainty", "correct"),
}
EXPECTED = (
    "logits (N, K, C) and labels (N,), or uncertainty (N, K) and correct (N, K); in Parquet"
    " label and logits_1 .. logits_K, or label, entropy_k and prediction_k, or uncertainty_k and"
    " correct_k"
)
MOST_CLASSES = np.iinfo(np.int16).max
# Tolerance of entropies computed in single precision.
ROUNDING = 1e-3
# Largest uncertainty; computations and figures must not overflow.
LARGEST = 1e100


@dataclass(frozen=True)
class ExternalRecords:
    """A file of external records.

    Attributes
    ----------
    kind
        Kind of its content, one of ``KINDS``.
    indexed
        Whether the file has an index.
    pieces
        Reads its samples, some at a time, with logits if it has them.
    """

    kind: str
    indexed: bool
    pieces: Callable[[], Iterator[Records]]


def read_external_records(
    path: str | os.PathLike,
    split: str = "",
    classes: int | None = None,
    labelled: bool = True,
    key: Key | None = None,
) -> Records:
    """Read external records and check all of their numbers.

    Parameters
    ----------
    path
        `.npz` or Parquet, as in the module's docstring.
    split
        ``calibration`` or ``test``; a file of this project must be of the same split.
    classes
        C, if known; by default it follows from the logits, or the largest label or prediction.
    labelled
        Whether labels are required. Otherwise ``labels`` and ``correct`` may be missing; each
        ``label`` is -1 then, and no exit counts as correct.
    key
        Compute the uncertainty by this measure, with its temperatures and parameters, and keep no
        logits; by default logits are kept.

    Returns
    -------
    Records
        With logits if the file has them. ``provenance`` has ``split``, ``classes``, ``exits``, for
        external uncertainties ``measure``, and for a file of this project its provenance.

    Raises
    ------
    InputError
        If the file cannot be read, something is missing, or a number is not valid.
    """
    pieces = open_external(path, split, classes, labelled).pieces()
    if key is None:
        return joined(pieces)
    return joined(piece.without_logits(key) for piece in pieces)


def open_external(
    path: str | os.PathLike, split: str = "", classes: int | None = None, labelled: bool = True
) -> ExternalRecords:
    """Open a file as :func:`read_external_records`; all but its logits is read."""
    where, columns = str(path), None
    if not is_parquet(path):
        columns = Npz(path)
    elif (own := _own(path, split, labelled)) is not None:
        return own
    columns = columns or Parquet(path)
    kind = _kind(columns, where, labelled)
    first = columns.shape(KINDS[kind][0])
    if not first or first[0] == 0:
        raise InputError(f"{where}: no samples; records need a row for each")
    _check_first(columns, kind, where)
    index = np.arange(first[0])
    indexed = "index" in columns.names
    if indexed:
        index = _whole_numbers(columns, (first[0],), "index", where)
    read = {"logits": _logits, "entropy": _entropies, "external": _external}[kind]
    pieces = read(columns, index, {"split": split}, where, classes, labelled)
    return ExternalRecords(kind, indexed, pieces)


def _own(path: str | os.PathLike, split: str, labelled: bool) -> ExternalRecords | None:
    """Records that this project wrote, or ``None`` for other files."""
    with readable(path), pq.ParquetFile(path) as file:
        if METADATA_KEY not in (file.schema_arrow.metadata or {}):
            return None
        logits = "logits_1" in file.schema_arrow.names
    with _of_the_user():
        records = read_records(path, labelled=labelled)
    found = records.provenance.get("split")
    if split and found != split:
        what = plain(str(found))
        raise InputError(
            f"{path}: contains the split {what}, not {split}", f"name the file of {split}"
        )

    def pieces() -> Iterator[Records]:
        if not logits:
            yield records
            return
        with _of_the_user():
            yield from read_pieces(path, logits=True, labelled=labelled)

    kind = "logits" if logits else records.measure
    return ExternalRecords(kind, True, pieces)


@contextmanager
def _of_the_user() -> Iterator[None]:
    """Give errors the remedy for a file that the user supplied."""
    try:
        yield
    except InputError as error:
        raise error.for_users_file() from error


def _kind(columns: Npz | Parquet, where: str, labelled: bool) -> str:
    """Kind of a file's content, the first of several."""
    for kind, needed in KINDS.items():
        if all(name in columns.names for name in (needed if labelled else needed[:-1])):
            return kind
    # Names as in the file: `labels` may be a column that should be called label.
    found = plain(", ".join(sorted(columns.there))) or "nothing"
    raise InputError(f"{where}: has {found}; records need {EXPECTED}")


def _check_first(columns: Npz | Parquet, kind: str, where: str) -> None:
    """Check shape and type of logits, entropies or uncertainties before they are read."""
    name, right = KINDS[kind][0], axes.LETTERS[3 if kind == "logits" else 2]
    shape, other = columns.shape(name), KINDS[kind][-1]
    if len(shape) != right.count(",") + 1 or 0 in shape:
        labels = columns.shape(other) if other in columns.names else ()
        hint = axes.advice(name, shape, labels[0] if labels else None)
        raise _shaped(name, shape, f"must be {right}", where, hint)
    dtype = columns.dtype(name)
    if dtype.kind not in "iuf":
        raise InputError(f"{where}: {name} of type {dtype}, but must be numbers")
    if kind == "external" and shape[1] > MOST_EXITS:
        hint = f"give {name}.T" if shape[0] < shape[1] else ""
        raise _shaped(name, shape, f"has more than {MOST_EXITS} exits", where, hint)


def _shaped(name: str, shape: tuple[int, ...], what: str, where: str, hint: str = "") -> InputError:
    remedy = f"; {hint}" if hint else ""
    return InputError(f"{where}: {name} of shape {shape}, but {what}{remedy}")


def _logits(
    columns: Npz | Parquet,
    index: np.ndarray,
    provenance: dict[str, Any],
    where: str,
    classes: int | None,
    labelled: bool,
) -> Callable[[], Iterator[Records]]:
    shape = columns.shape("logits")
    known, label = "labels" in columns.names, np.full(len(index), UNKNOWN)
    if known:
        samples = _samples(columns)
        if samples is not None and samples != shape[0]:
            hint = axes.advice("logits", shape, samples, _largest(columns))
            if hint:
                raise _shaped("logits", shape, f"there are {samples} labels", where, hint)
        label = _whole_numbers(columns, (len(index),), "labels", where)
        if label.max() >= shape[2] and (
            hint := axes.advice("logits", shape, len(label), int(label.max()))
        ):
            what = f"labels go up to {label.max()}, and C is the number of classes"
            raise _shaped("logits", shape, what, where, hint)
    if classes is not None and shape[2] != classes:
        raise InputError(
            f"{where}: logits of {shape[2]} classes, but records.class_names or the other records"
            f" have {classes}"
        )
    _check_classes(shape[2], where)
    if shape[1] > MOST_EXITS:
        raise _shaped("logits", shape, f"has more than {MOST_EXITS} exits", where)
    if known:
        check_labels(label, shape[2], where, whole=labelled)

    def pieces() -> Iterator[Records]:
        start = 0
        for logits in columns.rows("logits", rows_at_a_time(np.empty((0, *shape[1:])))):
            rows = slice(start, start + len(logits))
            single = _single(logits, start, where)
            yield from_logits(index[rows], label[rows], single, provenance, False, known)
            start = rows.stop

    return pieces


def _single(logits: np.ndarray, start: int, where: str) -> np.ndarray:
    """Logits in single precision, checked to be finite; ``start`` is the row of the first."""
    _check_finite(logits, "logits", where, start)
    with np.errstate(over="ignore"):
        logits = logits.astype(np.float32)
    if not np.isfinite(logits).all():
        raise InputError(f"{where}: a logit is too large for single precision", "scale them")
    return logits


def _entropies(
    columns: Npz | Parquet,
    index: np.ndarray,
    provenance: dict[str, Any],
    where: str,
    classes: int | None,
    labelled: bool,
) -> Callable[[], Iterator[Records]]:
    entropy = columns.whole("entropy")
    _check_finite(entropy, "entropy", where)
    prediction = _whole_numbers(columns, entropy.shape, "prediction", where)
    label = np.full(len(entropy), UNKNOWN)
    if "labels" in columns.names:
        label = _whole_numbers(columns, (len(entropy),), "labels", where)
    known = classes or 1 + int(max(label.max(), prediction.max()))
    _check_classes(known, where)
    if prediction.min() < 0 or prediction.max() >= known:
        raise InputError(
            f"{where}: predictions from {prediction.min()} to {prediction.max()}, but {known}"
            " classes (numbers from 0)"
        )
    if "labels" in columns.names:
        check_labels(label, known, where, whole=labelled)
    if entropy.min() < 0 or entropy.max() > math.log(known) + ROUNDING:
        raise InputError(
            f"{where}: entropies from {entropy.min():.4g} to {entropy.max():.4g}, but those of"
            f" {known} classes lie between 0 and {math.log(known):.4g} (nats)",
            "for another uncertainty name the columns uncertainty_k and correct_k",
        )
    provenance = provenance | {"classes": known, "exits": entropy.shape[1]}
    records = Records(index, label, entropy.astype(np.float32), prediction, None, provenance)
    return lambda: iter([records])


def _external(
    columns: Npz | Parquet,
    index: np.ndarray,
    provenance: dict[str, Any],
    where: str,
    classes: int | None,
    labelled: bool,
) -> Callable[[], Iterator[Records]]:
    uncertainty = columns.whole("uncertainty")
    _check_finite(uncertainty, "uncertainty", where)
    # Not abs(): it overflows for the least integer.
    least, largest = float(uncertainty.min()), float(uncertainty.max())
    if max(-least, largest) > LARGEST:
        raise InputError(
            f"{where}: uncertainties from {least:.4g} to {largest:.4g}, but must be within"
            f" {LARGEST:g}",
            "scale them, or clip those that stand for never or always",
        )
    if "correct" not in columns.names:
        records = from_external(index, uncertainty, np.zeros(uncertainty.shape), provenance)
        return lambda: iter([replace(records, label=np.full(len(index), UNKNOWN))])
    shape = columns.shape("correct")
    if shape != uncertainty.shape:
        hint = "give correct.T" if shape == uncertainty.shape[::-1] else ""
        raise _shaped("correct", shape, f"must be {uncertainty.shape}", where, hint)
    correct = columns.whole("correct") if columns.dtype("correct").kind in "biuf" else None
    if correct is None or not np.isin(correct, (0, 1)).all():
        raise InputError(f"{where}: correct has values other than 0 and 1 (or false and true)")
    records = from_external(index, uncertainty, correct, provenance)
    return lambda: iter([records])


def _samples(columns: Npz | Parquet) -> int | None:
    """N by the labels."""
    shape = columns.shape("labels")
    return shape[0] if len(shape) == 1 else None


def _largest(columns: Npz | Parquet) -> int | None:
    # Labels that fit no axis of the logits may have any length; they are not read.
    fits = _samples(columns) in columns.shape("logits") and _samples(columns)
    integers = columns.dtype("labels").kind in "iu" and fits
    return int(columns.whole("labels").max()) if integers else None


def _check_classes(classes: int, where: str) -> None:
    if not 2 <= classes <= MOST_CLASSES:
        raise InputError(f"{where}: {classes} classes; there must be 2 to {MOST_CLASSES}")


def _check_finite(array: np.ndarray, name: str, where: str, start: int = 0) -> None:
    """Check that numbers (N, K) or (N, K, C) are finite; ``start`` is the row of the first."""
    bad = ~np.isfinite(array.reshape(*array.shape[:2], -1)).all(axis=2)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"{where}: some {name} are NaN or infinite, first in row {start + row} (from 0) at exit"
            f" {column + 1}; they must be finite"
        )


def _whole_numbers(
    columns: Npz | Parquet, shape: tuple[int, ...], name: str, where: str
) -> np.ndarray:
    found, dtype = columns.shape(name), columns.dtype(name)
    if found != shape:
        hint = ""
        if len(shape) == 1 and found == (*shape, 1):
            hint = f"give {name}.ravel()"
        elif len(shape) == 1 and len(found) == 2 and found[0] == shape[0]:
            hint = f"if there is a column for each class, give {name}.argmax(axis=1)"
        elif found == shape[::-1]:
            hint = f"give {name}.T"
        raise _shaped(name, found, f"must be {shape}", where, hint)
    if dtype.kind not in "iu":
        if dtype.kind == "f":
            # Integers with empty cells are read as floats: report the cells first.
            columns.whole(name)
        hint = f"; give {name}.astype(int)" if dtype.kind in "bf" else ""
        raise InputError(f"{where}: {name} of type {dtype}, but must be whole numbers{hint}")
    array = columns.whole(name)
    if int(array.max()) > np.iinfo(np.int64).max:
        raise InputError(f"{where}: {name} up to {array.max()}, which is too large")
    return array.astype(np.int64)
