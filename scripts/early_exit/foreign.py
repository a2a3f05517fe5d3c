"""Records from elsewhere: what a network that is not here said of samples, in `.npz` or Parquet.

The samples are a row each, the exits 1 to K, the classes 0 to C-1. A file holds one of

``logits``
    `.npz`: ``logits`` (N, K, C) and ``labels`` (N,). Parquet: ``label`` and lists ``logits_k``.
``entropy``
    Parquet: ``label``, and ``entropy_k`` (nats) and ``prediction_k``.
``given``
    `.npz`: ``uncertainty`` (N, K), low is sure, and ``correct`` (N, K). Parquet: ``uncertainty_k``
    and ``correct_k``.

and may hold an ``index`` (N,). Which format it is, its first bytes say. Parquet that this project
wrote says itself what it is.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from early_exit.errors import InputError
from early_exit.files import has_line_break
from early_exit.foreign_files import is_parquet
from early_exit.origin import check_same_origin
from early_exit.records import (
    METADATA_KEY,
    UNKNOWN,
    Records,
    check_labels,
    from_given,
    from_logits,
    read_records,
)

# What the kinds consist of, after the names in `.npz`; `index` and the last of each may be missing.
KINDS = {
    "logits": ("logits", "labels"),
    "entropy": ("entropy", "prediction", "labels"),
    "given": ("uncertainty", "correct"),
}
# Columns of Parquet that are numbered by exit.
NUMBERED = re.compile(r"(logits|entropy|prediction|uncertainty|correct)_([1-9]\d*)")
EXPECTED = (
    "logits (N, K, C) and labels (N,), or uncertainty (N, K) and correct (N, K); in Parquet"
    " label and logits_1 .. logits_K, or label, entropy_k and prediction_k, or uncertainty_k and"
    " correct_k"
)
MOST_CLASSES = np.iinfo(np.int16).max
# Entropies were computed in single precision, perhaps.
ROUNDING = 1e-3


def read_foreign(
    path: str | os.PathLike,
    split: str = "",
    classes: int | None = None,
    labelled: bool = True,
) -> Records:
    """Read records from elsewhere, all of their numbers checked.

    Parameters
    ----------
    path
        `.npz` or Parquet, as the module says.
    split
        What the samples are for, ``calibration`` or ``test``. A file of this project must say the
        same of itself.
    classes
        C, where it is known; else the logits tell, or the largest label or prediction.
    labelled
        Whether it must be known which exits are right. Else ``labels`` and ``correct`` may be
        missing; each ``label`` is -1 then, and nothing counts as right.

    Returns
    -------
    Records
        With logits where the file has them. ``identity`` has ``split``, ``classes``, ``exits``, for
        an uncertainty of its own ``measure``, and, of a file of this project, what made it.

    Raises
    ------
    InputError
        If the file cannot be read, something is missing, or a number is none that it can be.
    """
    where = str(path)
    columns = _read(path, split, labelled)
    if isinstance(columns, Records):
        return columns
    kind = _kind(columns, where, labelled)
    first = columns[KINDS[kind][0]]
    length = len(first) if first.ndim else 0
    index = _index(columns, length, where)
    identity = {"split": split}
    if kind == "given":
        return _given(columns, index, identity, where)
    if kind == "logits":
        return _logits(columns, index, identity, where, classes, labelled)
    return _entropies(columns, index, identity, where, classes, labelled)


def describe(
    files: Mapping[str, str],
    calibration: Records,
    test: Records,
    exits: int,
    class_names: list[str] | None = None,
    costs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The manifest of an experiment's records: what they are, and that they belong together.

    Parameters
    ----------
    files
        SHA-256 of the files ``calibration``, ``test`` and ``costs``.
    exits
        K, by the cost table.
    costs
        What made the cost table, where that is known.

    Returns
    -------
    dict
        ``dataset`` ("records"), ``classes`` (``None`` where only right and wrong are known),
        ``class_names``, ``files``, ``settings``, ``exits``, ``samples``, and for an uncertainty of
        its own ``measure`` and ``span``, the least and the largest at the exits that have a
        threshold, on calibration; and ``digest``, a SHA-256 over all of these.

    Raises
    ------
    InputError
        If the splits differ in what must be the same, or are the same.
    """
    if files["calibration"] == files["test"]:
        raise InputError(
            "records: calibration and test are the same file, so nothing would show whether"
            " thresholds hold on other samples; give test other samples"
        )
    for what, found in (("calibration", calibration), ("test", test)):
        if found.exits != exits:
            raise InputError(
                f"records.costs: prices of {exits} exits, but records.{what} has {found.exits};"
                " give a row for each exit"
            )
    one, other = _content(calibration), _content(test)
    if one != other:
        raise InputError(
            f"records.test: {other}, but records.calibration has {one}; both must have the same"
        )
    try:
        check_same_origin(
            ("records.calibration", calibration.identity),
            ("records.test", test.identity),
            ("records.costs", dict(costs or {})),
        )
    except InputError as error:
        text = str(error).replace("delete the older and run again", "name files of one experiment")
        raise InputError(text) from error
    classes = None if calibration.given else calibration.classes
    if class_names is not None and len(class_names) != classes:
        has = "tell only right from wrong" if classes is None else f"have {classes} classes"
        raise InputError(
            f"records.class_names: {len(class_names)} names, but the records {has}; name each class"
            " in the order of its number, or leave the names out"
        )
    if broken := [name for name in class_names or () if has_line_break(name)]:
        raise InputError(f"records.class_names: {broken[0]!r} has a line break; rename it")
    manifest = {
        "dataset": "records",
        "classes": classes,
        "class_names": class_names,
        "files": dict(files),
        "settings": {},
        "exits": exits,
        "samples": {"calibration": len(calibration), "test": len(test)},
    }
    if calibration.given:
        # The last exit takes whoever is left; it has no threshold.
        seen = calibration.entropy[:, : max(1, exits - 1)]
        span = [float(seen.min()), float(seen.max())]
        manifest |= {"measure": calibration.identity["measure"], "span": span}
    text = json.dumps(manifest, sort_keys=True).encode()
    return manifest | {"digest": hashlib.sha256(text).hexdigest()}


def _content(records: Records) -> str:
    if records.given:
        return "an uncertainty of its own"
    what = "entropies" if records.logits is None else "logits"
    return f"{what} of {records.classes} classes"


def _read(path: str | os.PathLike, split: str, labelled: bool) -> dict[str, np.ndarray] | Records:
    """The arrays of a file after their names in `.npz`; or records that this project wrote."""
    if not is_parquet(path):
        return _read_npz(path)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if METADATA_KEY in (file.schema_arrow.metadata or {}):
                return _read_own(path, split, "logits_1" in file.schema_arrow.names, labelled)
            return _of_table(file.read(), str(path))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    wanted = {"index", *(name for kind in KINDS.values() for name in kind)}
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in wanted}
    except (OSError, ValueError, KeyError, EOFError, MemoryError) as error:
        raise _damaged(path, error) from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: str | os.PathLike, error: Exception) -> InputError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return InputError(f"{path}: cannot be read ({reason}); write it again")


def _read_own(path: str | os.PathLike, split: str, logits: bool, labelled: bool) -> Records:
    try:
        records = read_records(path, logits=logits, labelled=labelled)
    except InputError as error:
        # It is the user's file.
        text = str(error).replace("delete it and run again", "take a whole copy of it")
        raise InputError(text) from error
    found = records.identity.get("split")
    if split and found != split:
        raise InputError(f"{path}: holds the split {found}, not {split}; name the file of {split}")
    return records


def _of_table(table: pa.Table, where: str) -> dict[str, np.ndarray]:
    """The columns of a table, those of the exits stacked."""
    for name in table.column_names:
        known = name in ("index", "label") or NUMBERED.fullmatch(name)
        if known and table[name].null_count:
            raise InputError(f"{where}: the column {name} has empty cells; fill them")
    numbers: dict[str, list[int]] = {}
    for found in map(NUMBERED.fullmatch, table.column_names):
        if found:
            numbers.setdefault(found[1], []).append(int(found[2]))
    arrays = {}
    for name, there in numbers.items():
        missing = set(range(1, max(there) + 1)) - set(there)
        if missing:
            raise InputError(
                f"{where}: has {name}_{max(there)}, but no {name}_{min(missing)}; exits are"
                " numbered from 1, without gaps"
            )
        columns = [_column(table, f"{name}_{k}", where) for k in sorted(there)]
        if len({column.shape for column in columns}) > 1:
            raise InputError(
                f"{where}: {name}_k are of different lengths; each exit needs C logits"
            )
        arrays[name] = np.stack(columns, axis=1)
    for name, own in (("label", "labels"), ("index", "index")):
        if name in table.column_names:
            arrays[own] = _column(table, name, where)
    return arrays


def _column(table: pa.Table, name: str, where: str) -> np.ndarray:
    """A column as an array: (N,), or (N, C) of lists."""
    column = table[name].combine_chunks()
    kinds = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    if any(is_kind(column.type) for is_kind in kinds):
        lengths = set(column.value_lengths().to_pylist())
        flat = column.flatten()
        if len(lengths) > 1 or flat.null_count:
            raise InputError(f"{where}: lists in {name} differ in length, or have empty places")
        return flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return column.to_numpy(zero_copy_only=False)


def _kind(columns: dict[str, np.ndarray], where: str, labelled: bool) -> str:
    """What the file holds; of several the first."""
    for kind, names in KINDS.items():
        needed = names if labelled else names[:-1]
        if all(name in columns for name in needed):
            return kind
    found = ", ".join(sorted(columns)) or "none of these"
    raise InputError(f"{where}: has {found}; records need {EXPECTED}")


def _index(columns: dict[str, np.ndarray], length: int, where: str) -> np.ndarray:
    if length == 0:
        raise InputError(f"{where}: no samples; records need a row for each")
    if "index" not in columns:
        return np.arange(length)
    return _whole_numbers(columns["index"], (length,), "index", where)


def _logits(
    columns: dict[str, np.ndarray],
    index: np.ndarray,
    identity: dict[str, Any],
    where: str,
    classes: int | None,
    whole: bool,
) -> Records:
    logits = _numbers(columns["logits"], 3, "logits", "(N, K, C)", where)
    if classes is not None and logits.shape[2] != classes:
        raise InputError(
            f"{where}: logits of {logits.shape[2]} classes, but {classes} are expected, by"
            " records.class_names or the other records"
        )
    _check_classes(logits.shape[2], where)
    with np.errstate(over="ignore"):
        logits = logits.astype(np.float32)
    if not np.isfinite(logits).all():
        raise InputError(f"{where}: a logit is too large for single precision; scale them")
    if "labels" in columns:
        label = _whole_numbers(columns["labels"], (len(logits),), "labels", where)
        check_labels(label, logits.shape[2], where, whole=whole)
        return from_logits(index, label, logits, identity, whole=whole)
    unknown = np.full(len(logits), UNKNOWN)
    return from_logits(index, unknown, logits, identity, whole=False, labelled=False)


def _entropies(
    columns: dict[str, np.ndarray],
    index: np.ndarray,
    identity: dict[str, Any],
    where: str,
    classes: int | None,
    whole: bool,
) -> Records:
    entropy = _numbers(columns["entropy"], 2, "entropy", "(N, K)", where)
    prediction = _whole_numbers(columns["prediction"], entropy.shape, "prediction", where)
    label = np.full(len(entropy), UNKNOWN)
    if "labels" in columns:
        label = _whole_numbers(columns["labels"], (len(entropy),), "label", where)
    known = classes or 1 + int(max(label.max(), prediction.max()))
    _check_classes(known, where)
    if prediction.min() < 0 or prediction.max() >= known:
        raise InputError(
            f"{where}: predictions from {prediction.min()} to {prediction.max()}, but {known}"
            " classes (numbers from 0)"
        )
    if "labels" in columns:
        check_labels(label, known, where, whole=whole)
    if entropy.min() < 0 or entropy.max() > math.log(known) + ROUNDING:
        raise InputError(
            f"{where}: entropies from {entropy.min():.4g} to {entropy.max():.4g}, but those of"
            f" {known} classes lie between 0 and {math.log(known):.4g} (nats); for another"
            " uncertainty name the columns uncertainty_k and correct_k"
        )
    identity = identity | {"classes": known, "exits": entropy.shape[1]}
    return Records(index, label, entropy.astype(np.float32), prediction, None, identity)


def _given(
    columns: dict[str, np.ndarray], index: np.ndarray, identity: dict[str, Any], where: str
) -> Records:
    uncertainty = _numbers(columns["uncertainty"], 2, "uncertainty", "(N, K)", where)
    if "correct" not in columns:
        records = from_given(index, uncertainty, np.zeros(uncertainty.shape), identity)
        return replace(records, label=np.full(len(index), UNKNOWN))
    correct = columns["correct"]
    _check_shape(correct, uncertainty.shape, "correct", where)
    if correct.dtype.kind not in "biuf" or not np.isin(correct, (0, 1)).all():
        raise InputError(f"{where}: correct has values other than 0 and 1 (or false and true)")
    return from_given(index, uncertainty, correct, identity)


def _check_classes(classes: int, where: str) -> None:
    if not 2 <= classes <= MOST_CLASSES:
        raise InputError(f"{where}: {classes} classes; there must be 2 to {MOST_CLASSES}")


def _check_shape(array: np.ndarray, shape: tuple[int, ...], name: str, where: str) -> None:
    if array.shape != shape:
        raise InputError(f"{where}: {name} of shape {array.shape}, but must be {shape}")


def _numbers(array: np.ndarray, axes: int, name: str, right: str, where: str) -> np.ndarray:
    """Finite numbers in ``axes`` axes, none of which is empty."""
    if array.ndim != axes or 0 in array.shape:
        raise InputError(f"{where}: {name} of shape {array.shape}, but must be {right}")
    if array.dtype.kind not in "iuf":
        raise InputError(f"{where}: {name} of type {array.dtype}, but must be numbers")
    bad = ~np.isfinite(array.reshape(*array.shape[:2], -1)).all(axis=2)
    if bad.any():
        row, place = np.argwhere(bad)[0]
        raise InputError(
            f"{where}: {name} of {int(bad.any(axis=1).sum())} samples are NaN or infinite, first"
            f" row {row} (from 0) at exit {place + 1}; they must be finite"
        )
    return array


def _whole_numbers(array: np.ndarray, shape: tuple[int, ...], name: str, where: str) -> np.ndarray:
    _check_shape(array, shape, name, where)
    if array.dtype.kind not in "iu":
        raise InputError(f"{where}: {name} of type {array.dtype}, but must be whole numbers")
    return array.astype(np.int64)
