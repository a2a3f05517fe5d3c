"""Arrays of a file of external records, `.npz` or Parquet, by their names in `.npz`.

Both formats have the same interface: names, shapes and types of arrays, one array in full, or its
rows in pieces. Errors of libraries in damaged files become one line.
"""

from __future__ import annotations

import operator
import os
import re
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib import format as npy

from early_exit.errors import COPY, InputError, reason_of

NAMES = ("logits", "labels", "entropy", "prediction", "uncertainty", "correct", "index")
KNOWN = {*NAMES, "label"}
# Parquet columns numbered by exit, from 1 and without leading zeros.
NUMBERED = re.compile(r"(logits|entropy|prediction|uncertainty|correct)_([1-9]\d*)")
MISNUMBERED = re.compile(r"(logits|entropy|prediction|uncertainty|correct)_0\d*")
# More exits than any network has; Parquet needs columns for each.
MOST_EXITS = 10_000
# Bytes to read ahead.
BUFFER = 2**20
ERRORS = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, EOFError, MemoryError, RuntimeError),
    *(OverflowError, SyntaxError, NotImplementedError, RecursionError, pa.ArrowException),
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError),
)


@contextmanager
def readable(path: str | os.PathLike) -> Iterator[None]:
    """Turn errors while a file is read into an InputError."""
    try:
        yield
    except ERRORS as error:
        raise InputError(
            f"{path}: cannot be read ({reason_of(error)})", "write it again"
        ) from error


class Npz:
    """The arrays of an `.npz` file. Nothing is unpickled."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = path
        with readable(path), zipfile.ZipFile(path) as file:
            self.there = [name.removesuffix(".npy") for name in file.namelist()]
            self._members = self._known(file)
            self._heads = {name: self._head(file, name) for name in self._members}

    def _known(self, file: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        members: dict[str, zipfile.ZipInfo] = {}
        for info in file.infolist():
            stem, dot, suffix = info.filename.partition(".")
            if stem not in NAMES or (dot and suffix != "npy"):
                continue
            if not dot:
                raise InputError(
                    f"{self.path}: its member {stem} is not an array, as {stem}.npy would be",
                    "write the file with numpy.savez",
                )
            if stem in members:
                raise InputError(f"{self.path}: has {stem} twice", "remove one of them")
            members[stem] = info
        _check_near(self.there, [*members, *NAMES], str(self.path))
        return members

    def _head(self, file: zipfile.ZipFile, name: str) -> _Head:
        info = self._members[name]
        with file.open(info) as member:
            head = _Head.read(member)
            length = member.tell()
        if head.dtype.hasobject:
            raise InputError(
                f"{self.path}: {name} contains Python objects, but must be numbers",
                "save an array whose rows all have the same length",
            )
        if info.file_size - length != head.bytes:
            raise ValueError(
                f"{name} should have {head.bytes} bytes, but has {info.file_size - length}"
            )
        return head

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return [*self._heads]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array."""
        return self._heads[name].shape

    def dtype(self, name: str) -> np.dtype:
        """Data type of an array."""
        return self._heads[name].dtype

    def whole(self, name: str) -> np.ndarray:
        """An array in full."""
        head = self._heads[name]
        with readable(self.path), self._data(name) as member:
            array = np.frombuffer(bytearray(member.read()), head.dtype)
        return array.reshape(head.shape, order="F" if head.fortran else "C")

    def rows(self, name: str, count: int) -> Iterator[np.ndarray]:
        """Rows of an array in order, ``count`` at a time; the last piece verifies its checksum."""
        head = self._heads[name]
        with readable(self.path), self._data(name) as member:
            if head.fortran:
                yield from self._fortran_rows(member, head, count)
                return
            row = head.bytes // head.shape[0]
            for start in range(0, head.shape[0], count):
                taken = min(count, head.shape[0] - start)
                data = member.read(taken * row)
                yield np.frombuffer(data, head.dtype).reshape(taken, *head.shape[1:])

    @contextmanager
    def _data(self, name: str) -> Iterator[BinaryIO]:
        """An array's bytes. Reading to the end verifies the checksum."""
        with zipfile.ZipFile(self.path) as file, file.open(self._members[name]) as member:
            _Head.read(member)
            yield member
            if member.read(1):
                raise ValueError(f"{name} is longer than its header says")

    @staticmethod
    def _fortran_rows(member: BinaryIO, head: _Head, count: int) -> Iterator[np.ndarray]:
        """Rows of an array in Fortran order, by way of a temporary file."""
        with tempfile.TemporaryFile() as file:
            while data := member.read(BUFFER):
                file.write(data)
            file.flush()
            for start in range(0, head.shape[0], count):
                # A new map for each piece, so that pages of the last one can be freed.
                mapped = np.memmap(file, head.dtype, "r", shape=head.shape, order="F")
                yield np.ascontiguousarray(mapped[start : start + count])


@dataclass(frozen=True)
class _Head:
    """Header of a `.npy` file."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    @classmethod
    def read(cls, file: Any) -> _Head:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise ValueError(f"version {version} of .npy")
        # Version 3 differs from 2 only in the encoding of field names.
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return cls(*read(file))

    @property
    def bytes(self) -> int:
        """Size of the array in bytes."""
        product = self.dtype.itemsize
        for length in self.shape:
            # Python integers: a wrong shape must not overflow.
            product *= int(length)
        return product


class Parquet:
    """Columns of a Parquet file, with those of all exits stacked."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = path
        with self._opened() as file:
            self._rows = file.metadata.num_rows
            self.there = file.schema_arrow.names
            self._exits = _numbers(file.schema_arrow.names, str(path))
            known = ("label", "index")
            self._single = [name for name in known if name in file.schema_arrow.names]
            self._classes = self._length_of_lists(file)
            self._types = {
                name: _type(file.schema_arrow.field(name).type)
                for own in self._columns().values()
                for name in own
            }

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        # By default pyarrow reads a row group's complete columns ahead.
        options = {"page_checksum_verification": True, "buffer_size": BUFFER, "pre_buffer": False}
        with readable(self.path), pq.ParquetFile(self.path, **options) as file:
            yield file

    def _columns(self) -> dict[str, list[str]]:
        """Column names of each array."""
        found = {"labels" if name == "label" else name: [name] for name in self._single}
        found |= {name: [f"{name}_{k}" for k in range(1, n + 1)] for name, n in self._exits.items()}
        return found

    def _length_of_lists(self, file: pq.ParquetFile) -> int:
        """C, the length of the first list of logits; 0 without lists."""
        if "logits" not in self._exits or not self._rows:
            return 0
        batches = (one for one in file.iter_batches(1, columns=["logits_1"]) if len(one))
        # Of a damaged row group pyarrow may return no rows, without an error.
        if (batch := next(batches, None)) is None:
            raise self._truncated(0)
        first = batch["logits_1"]
        return _lists(first, "logits_1", str(self.path)).shape[-1] if _is_list(first.type) else 0

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return [*self._columns()]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an array."""
        if name not in self._exits:
            return (self._rows,)
        of_lists = (self._classes,) if name == "logits" and self._classes else ()
        return (self._rows, self._exits[name], *of_lists)

    def dtype(self, name: str) -> np.dtype:
        """Data type of an array; that of a column that is not numeric, if there is one."""
        types = [self._types[column] for column in self._columns()[name]]
        odd = [kind for kind in types if kind.kind not in "biuf"]
        return odd[0] if odd else np.result_type(*types)

    def whole(self, name: str) -> np.ndarray:
        """An array in full."""
        return np.concatenate([*self.rows(name, max(1, self._rows))])

    def rows(self, name: str, count: int) -> Iterator[np.ndarray]:
        """Rows of an array in order, ``count`` at a time."""
        columns = self._columns()[name]
        with self._opened() as file:
            if not self._rows:
                yield np.empty(self.shape(name), self.dtype(name))
            seen = 0
            for batch in file.iter_batches(count, columns=columns):
                seen += len(batch)
                arrays = [self._array(batch[column], column) for column in columns]
                yield np.stack(arrays, axis=1) if name in self._exits else arrays[0]
        # Of a damaged row group pyarrow may return fewer rows, or none, without an error.
        if seen != self._rows:
            raise self._truncated(seen)

    def _truncated(self, seen: int) -> InputError:
        return InputError(f"{self.path}: damaged: {seen} of {self._rows} rows can be read", COPY)

    def _array(self, column: pa.Array, name: str) -> np.ndarray:
        """A piece of a column: (N,), or (N, C) for lists."""
        if column.null_count:
            raise InputError(f"{self.path}: the column {name} has empty cells", "fill them")
        if not _is_list(column.type):
            return column.to_numpy(zero_copy_only=False)
        lists = _lists(column, name, str(self.path))
        if lists.shape[1] != self._classes:
            raise InputError(
                f"{self.path}: the lists in logits_k differ in length; each exit needs C logits"
            )
        return lists


def _numbers(names: list[str], where: str) -> dict[str, int]:
    """Number of columns (exits) of each array, checked to be 1..K without duplicates."""
    for name in names:
        if MISNUMBERED.fullmatch(name):
            stem = name.partition("_")[0]
            raise InputError(
                f"{where}: has a column {name}, but exits are numbered from 1, without leading"
                " zeros",
                f"rename the columns to {stem}_1, {stem}_2 and so on",
            )
        known = name in ("index", "label") or NUMBERED.fullmatch(name)
        if known and names.count(name) > 1:
            raise InputError(f"{where}: has {names.count(name)} columns called {name}", "keep one")
    numbers: dict[str, list[int]] = {}
    for found in map(NUMBERED.fullmatch, names):
        if found:
            # Python does not read numbers of thousands of digits.
            numbers.setdefault(found[1], []).append(int(found[2][:20]))
    for name, there in numbers.items():
        there.sort()
        gaps = [k for k, number in enumerate(there, start=1) if k != number]
        if gaps:
            raise InputError(
                f"{where}: has {name}_{there[-1]}, but no {name}_{gaps[0]}; exits are numbered from"
                " 1, without gaps"
            )
        if len(there) > MOST_EXITS:
            raise InputError(f"{where}: {len(there)} exits, but at most {MOST_EXITS} are possible")
    next_ones = [f"{name}_{len(there) + 1}" for name, there in numbers.items()]
    _check_near(names, [*names, "index", "label", *next_ones], where)
    return {name: len(there) for name, there in numbers.items()}


def _check_near(names: list[str], known: list[str], where: str) -> None:
    """Refuse a name that differs from a known one in one letter, as it would not be read."""
    stems = [name for name in known if name in KNOWN or NUMBERED.fullmatch(name)]
    for name in names:
        if name in stems:
            continue
        for right in stems:
            if len(name) == len(right) and sum(map(operator.ne, name, right)) == 1:
                raise InputError(
                    f"{where}: has {name!r}, which differs from {right} in one letter",
                    "rename or remove it",
                )


def _is_list(kind: pa.DataType) -> bool:
    kinds = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    return any(is_kind(kind) for is_kind in kinds)


def _type(kind: pa.DataType) -> np.dtype:
    """Numpy type of a column, or of the elements of its lists."""
    try:
        return np.dtype((kind.value_type if _is_list(kind) else kind).to_pandas_dtype())
    except (NotImplementedError, TypeError, ValueError):
        return np.dtype(object)


def _lists(column: pa.Array, name: str, where: str) -> np.ndarray:
    """A column of lists as an array (N, C)."""
    lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
    flat = column.flatten()
    if len(lengths) > 1 or flat.null_count:
        raise InputError(f"{where}: lists in {name} differ in length, or have empty elements")
    return flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)
