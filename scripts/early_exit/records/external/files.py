"""Kinds of external files, found without reading their numbers: cheap enough for planning."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from early_exit.errors import InputError

PARQUET, ZIP = b"PAR1", b"PK\x03\x04"


def is_parquet(path: str | os.PathLike) -> bool:
    """Whether a file of records is Parquet, and not `.npz`, by its first bytes.

    Raises
    ------
    InputError
        If it is neither, or cannot be read.
    """
    try:
        # Opening a pipe may block.
        if Path(path).is_fifo():
            raise InputError(
                f"{path}: a pipe, not a file", "write the records to a file and name that"
            )
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror})", "name another file"
        ) from error
    if start not in (PARQUET, ZIP):
        raise InputError(
            f"{path}: neither .npz (numpy.savez) nor Parquet; records must be one of the two"
        )
    return start == PARQUET


def holds_logits(path: str | os.PathLike) -> bool:
    """Whether a file of records has logits; true if it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if is_parquet(path):
            return "logits_1" in pq.read_schema(path).names
        with zipfile.ZipFile(path) as file:
            return "logits.npy" in file.namelist()
    except (InputError, OSError, ValueError, zipfile.BadZipFile, pa.ArrowException):
        # Reading it will report the error.
        return True


def side_file(path: str | os.PathLike) -> str | None:
    """``cost.json`` beside an experiment's ``cost.csv``, or ``None``."""
    beside = Path(path).with_name("cost.json")
    return str(beside) if Path(path).name == "cost.csv" and beside.is_file() else None
