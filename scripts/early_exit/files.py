"""Files that are whole or not there: written beside their place, then renamed.

JSON and CSV carry a *seal*, the SHA-256 of what they say and of their name, so that a file that was
damaged, changed, or put in the place of another is not read. In JSON it is a key; in CSV a last
column, of which only the first row is filled. Any reader of CSV takes the file as it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from early_exit.errors import InputError

SEAL = "seal"


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; rename it to ``path`` on success.

    A failure, or a kill, leaves whatever stood at ``path`` before. The temporary name keeps the
    suffix, since some writers choose their format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name}-"
    # What a job that was killed left behind; two jobs never write the same file.
    for rest in path.parent.glob(f"{prefix}*"):
        rest.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner reads; give them the usual permissions.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        # Of a full disk writers say no name.
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make ``folder``, and wait until no other process is inside this block for it.

    The lock is the operating system's, so it goes with its process, and leaves no file behind. A
    file system without such locks has none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | os.PathLike, content: dict[str, Any]) -> None:
    """Write ``content`` as indented JSON, sealed. NaN and infinity, not JSON, are refused."""
    # As it will be read: tuples are lists then, and keys are texts.
    content = json.loads(json.dumps(content, allow_nan=False))
    text = json.dumps(content | {SEAL: _seal_of(path, content)}, indent=2) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | os.PathLike, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Read what :func:`write_json` wrote, which must have ``keys``.

    Raises
    ------
    InputError
        If the file is missing, empty, no JSON, if its seal does not fit, or if a key is missing.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        seal = content.pop(SEAL, None) if isinstance(content, dict) else None
        fits = seal == _seal_of(path, content)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: no readable JSON ({error}); delete it and run again") from error
    if not fits:
        raise InputError(_broken(path))
    missing = [key for key in keys if key not in content]
    if missing:
        raise InputError(f"{path}: lacks the keys {missing}; delete it and run again")
    return content


def has_line_break(text: str) -> bool:
    """Whether no cell of a table can hold it."""
    return "\n" in text or "\r" in text


def write_table(
    path: str | os.PathLike, table: Any, identity: dict[str, Any] | None = None
) -> None:
    """Write a :class:`pandas.DataFrame` as CSV, sealed, floats with nine significant digits.

    Parameters
    ----------
    identity
        What made the table: texts without spaces or commas, by name.
    """
    made_by = "".join(f"{key}={value} " for key, value in (identity or {}).items())
    text = table.to_csv(index=False, float_format="%.9g")
    cells = [SEAL, f"{made_by}sha256={_seal(path, made_by + text)}"]
    lines = text.removesuffix("\n").split("\n")
    if len(lines) != len(table) + 1:
        raise ValueError(f"{path}: a cell has a line break")
    cells = [*cells, *[""] * (len(lines) - 2)][: len(lines)]
    sealed = "".join(f"{line},{cell}\n" for line, cell in zip(lines, cells, strict=True))
    with replacing(path) as temporary:
        temporary.write_text(sealed, encoding="utf-8")


def read_table(path: str | os.PathLike, columns: list[str]) -> Any:
    """Read a CSV table of :func:`write_table`, which must have ``columns`` and a row at least.

    Returns
    -------
    pandas.DataFrame
        Without its seal; ``attrs["identity"]`` says what made it.

    Raises
    ------
    InputError
        If it cannot be read, if its seal does not fit, or if a column is missing.
    """
    import pandas as pd

    try:
        lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no readable table ({error}); delete it and run again") from error
    rows, _, cells = zip(*(line.rpartition(",") for line in lines), strict=True)
    if cells == (SEAL,):
        raise InputError(f"{path}: has no rows; delete it and run again")
    text = "".join(f"{row}\n" for row in rows)
    made_by, _, seal = cells[1].rpartition("sha256=") if cells[0] == SEAL else ("", "", "")
    if any(cells[2:]) or seal != _seal(path, made_by + text):
        raise InputError(_broken(path))
    # A class may be called 007, or NA.
    names = {"dtype": {"class_name": str}, "keep_default_na": False, "na_values": [""]}
    # pandas' own reader may be off by the last bit, and who is tied with a threshold would leave.
    exact = {name: float for name in rows[0].split(",") if name.startswith("threshold_")}
    table = pd.read_csv(io.StringIO(text), converters=exact, **names)
    table.attrs["identity"] = dict(pair.split("=", 1) for pair in made_by.split())
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(f"{path}: lacks the columns {missing}; delete it and run again")
    return table


def _seal_of(path: str | os.PathLike, content: Any) -> str:
    return _seal(path, json.dumps(content, sort_keys=True, allow_nan=False))


def _seal(path: str | os.PathLike, text: str) -> str:
    return hashlib.sha256(f"{Path(path).name}\n{text}".encode()).hexdigest()


def _broken(path: str | os.PathLike) -> str:
    return (
        f"{path}: damaged, changed since it was written, or another file in its place (its seal"
        " does not fit); delete it and run again"
    )


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
