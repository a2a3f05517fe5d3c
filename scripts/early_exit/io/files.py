"""Atomic writes (temporary file, then rename), and JSON and CSV with checksums.

The *checksum* is the SHA-256 of content and file name, so a file that was damaged, edited or
swapped with another is not read. In JSON it is a key. In CSV it is in the first line, a comment,
after the provenance::

    # network=... data=... split=test sha256=...

``pandas.read_csv(path, comment="#")`` reads the table alone.
"""

from __future__ import annotations

import csv
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

from early_exit.errors import AGAIN, InputError
from early_exit.io.thresholds import PREFIX, as_numbers, as_words

CHECKSUM = "checksum"
# Parts of a table's first line.
COMMENT, SHA256 = "# ", "sha256="
# Prefix of temporary files.
TEMPORARY = ".early-exit-tmp-"


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``, and rename it to ``path`` on success.

    A failure or a kill does not change ``path``. The temporary name keeps the suffix, since some
    writers choose their format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A hash, because the name may have any length and any characters.
    prefix = f"{TEMPORARY}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}-"
    _clear(path.parent, prefix)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=path.suffix)
    temporary = Path(name)
    try:
        # While it is locked, no other process deletes it as the remains of a kill.
        _lock(handle)
        yield temporary
        # mkstemp makes files that only their owner reads; set the usual permissions.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        # Report `path`, not the temporary name or, on a full disk, none.
        if error.filename in (None, name):
            error.filename = str(path)
        raise
    finally:
        os.close(handle)
        temporary.unlink(missing_ok=True)


def _clear(folder: Path, prefix: str) -> None:
    """Delete temporary files of killed jobs, but none that is still being written."""
    for rest in folder.iterdir():
        if not rest.name.startswith(prefix) or not rest.is_file():
            continue
        with suppress(OSError):
            held = os.open(rest, os.O_RDWR)
            try:
                if _lock(held):
                    rest.unlink(missing_ok=True)
            finally:
                os.close(held)


def _lock(handle: int) -> bool:
    """Lock an open file until its process ends; ``False`` if another process holds the lock.

    Without locks in the file system it is ``True``: two jobs never write the same file.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Create ``folder`` and hold an exclusive lock on it, waiting for other processes.

    The lock is the operating system's: it ends with its process and needs no file. On a file system
    without such locks there is none.
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
    """Write ``content`` as indented JSON with a checksum; NaN and infinity are refused."""
    # As it will be read: tuples become lists, and keys strings.
    content = json.loads(json.dumps(content, allow_nan=False))
    text = json.dumps(content | {CHECKSUM: _checksum_of(path, content)}, indent=2) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: str | os.PathLike, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Read a file of :func:`write_json` that must have ``keys``.

    Raises
    ------
    InputError
        If the file is missing or not JSON, its checksum does not match, or a key is missing.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        checksum = content.pop(CHECKSUM, None) if isinstance(content, dict) else None
        fits = checksum == _checksum_of(path, content)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})", AGAIN) from error
    if not fits:
        raise _broken(path)
    missing = [key for key in keys if key not in content]
    if missing:
        raise InputError(f"{path}: lacks the keys {missing}", AGAIN)
    return content


def has_line_break(text: str) -> bool:
    """Whether the text has a line break, which no cell of a table may contain."""
    return "\n" in text or "\r" in text


def write_table(
    path: str | os.PathLike, table: Any, provenance: dict[str, Any] | None = None
) -> None:
    """Write a :class:`pandas.DataFrame` as CSV, floats with nine significant digits.

    Infinite thresholds become ``never`` and ``always`` (:mod:`early_exit.io.thresholds`).

    Parameters
    ----------
    provenance
        Provenance of the table: strings without spaces, by name.
    """
    text = _csv(as_words(table))
    if text.count("\n") != len(table) + 1:
        raise ValueError(f"{path}: a cell has a line break")
    made_from = "".join(f"{key}={value} " for key, value in (provenance or {}).items())
    first = f"{COMMENT}{made_from}{SHA256}{_checksum(path, made_from + text)}\n"
    with replacing(path) as temporary:
        temporary.write_text(first + text, encoding="utf-8")


def _csv(table: Any) -> str:
    text = table.to_csv(index=False, float_format="%.9g")
    if "#" not in text:
        return text
    # Quoted, a # begins no comment.
    return table.to_csv(index=False, float_format="%.9g", quoting=csv.QUOTE_NONNUMERIC)


def read_table(path: str | os.PathLike, columns: list[str]) -> Any:
    """Read a table of :func:`write_table` that must have ``columns`` and at least one row.

    Returns
    -------
    pandas.DataFrame
        With its provenance in ``attrs["provenance"]``.

    Raises
    ------
    InputError
        If it cannot be read, its checksum does not match, or a column is missing.
    """
    import pandas as pd

    try:
        first, _, text = Path(path).read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a table ({error})", AGAIN) from error
    made_from, _, checksum = first.removeprefix(COMMENT).rpartition(SHA256)
    if not first.startswith(COMMENT) or checksum != _checksum(path, made_from + text):
        raise _broken(path)
    names, *rows = text.splitlines()
    if not rows:
        raise InputError(f"{path}: has no rows", AGAIN)
    # Class names such as 007 and NA are strings.
    options = {"dtype": {"class_name": str}, "keep_default_na": False, "na_values": [""]}
    # pandas' parser may be off by the last bit, and a sample tied with a threshold would exit.
    thresholds = [name for name in next(csv.reader([names])) if name.startswith(PREFIX)]
    exact = dict.fromkeys(thresholds, str)
    try:
        table = as_numbers(pd.read_csv(io.StringIO(text), converters=exact, **options))
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as a table ({error})", AGAIN) from error
    table.attrs["provenance"] = dict(pair.split("=", 1) for pair in made_from.split())
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(f"{path}: lacks the columns {missing}", AGAIN)
    return table


def is_own_table(path: str | os.PathLike) -> bool:
    """Whether a file begins like those of :func:`write_table`."""
    with open(path, "rb") as file:
        first = file.readline(4096).decode(errors="replace")
    return first.startswith(COMMENT) and SHA256 in first


def _checksum_of(path: str | os.PathLike, content: Any) -> str:
    return _checksum(path, json.dumps(content, sort_keys=True, allow_nan=False))


def _checksum(path: str | os.PathLike, text: str) -> str:
    return hashlib.sha256(f"{Path(path).name}\n{text}".encode()).hexdigest()


def _broken(path: str | os.PathLike) -> InputError:
    return InputError(
        f"{path}: damaged, edited or another file in its place (its checksum does not match)",
        AGAIN,
    )


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
