"""What files from elsewhere are, told without reading their numbers: cheap enough for a plan."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from early_exit.errors import InputError

PARQUET, ZIP = b"PAR1", b"PK\x03\x04"


def is_parquet(path: str | os.PathLike) -> bool:
    """Whether a file of records begins as Parquet does, and not as `.npz`.

    Raises
    ------
    InputError
        If it begins as neither, or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name another file") from error
    if start not in (PARQUET, ZIP):
        raise InputError(f"{path}: neither .npz (numpy.savez) nor Parquet; records must be one")
    return start == PARQUET


def holds_logits(path: str | os.PathLike) -> bool:
    """Whether a file of records lists logits; true where that cannot be told."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if is_parquet(path):
            return "logits_1" in pq.read_schema(path).names
        with zipfile.ZipFile(path) as file:
            return "logits.npy" in file.namelist()
    except (InputError, OSError, ValueError, zipfile.BadZipFile, pa.ArrowException):
        # Whoever reads it will say what is wrong.
        return True


def side_file(path: str | os.PathLike) -> str | None:
    """The file beside an experiment's own ``cost.csv`` that belongs to it, where it is there."""
    beside = Path(path).with_name("cost.json")
    return str(beside) if Path(path).name == "cost.csv" and beside.is_file() else None
