"""Files that are whole or not there: written beside their place, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from early_exit.errors import InputError


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; rename it to ``path`` on success.

    A failure, or a kill, leaves whatever stood at ``path`` before. The temporary name keeps the
    suffix, since some writers choose their format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner reads; give them the usual permissions.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write ``content`` as indented JSON. NaN and infinity are refused: JSON has neither."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        If the file is missing, empty or no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: no readable JSON ({error}); delete it and run again") from error


def write_table(path: str | os.PathLike, table: Any) -> None:
    """Write a :class:`pandas.DataFrame` as CSV, floats with nine significant digits."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.9g")


def read_table(path: str | os.PathLike, columns: list[str]) -> Any:
    """Read a CSV table that must have ``columns`` and a row at least.

    Raises
    ------
    InputError
        If it cannot be read, or if a column is missing.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no readable table ({error}); delete it and run again") from error
    missing = [name for name in columns if name not in table.columns]
    if missing or table.empty:
        what = f"lacks the columns {missing}" if missing else "has no rows"
        raise InputError(f"{path}: {what}; delete it and run again")
    return table


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
