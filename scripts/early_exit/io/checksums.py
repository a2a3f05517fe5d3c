"""Cached SHA-256 of a file or directory tree.

Checksums are cached with each file's size and modification time; a file is read again only when one
of the two has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from tqdm import tqdm

from early_exit.errors import InputError
from early_exit.io.files import replacing, sha256
from early_exit.io.names import shown

# Unread files from which a progress bar is shown.
MANY = 500


def checksum(path: Path, notes: Path) -> str:
    """SHA-256 of a file, or of all names and contents below a folder, hidden files excluded.

    Parameters
    ----------
    notes
        The cache file; its folder need not exist. If it cannot be written, everything is read each
        time.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    known = _read(notes)
    found, unread = {}, []
    for name, file in _below(path):
        with _errors_of(file):
            stat = file.stat()
        if not S_ISREG(stat.st_mode):
            raise InputError(f"{shown(str(file))}: not a regular file", "remove it")
        own = known.get(name)
        seen = [stat.st_size, stat.st_mtime_ns]
        found[name] = [*seen, own[2] if own and own[:2] == seen else ""]
        unread += [] if found[name][2] else [(name, file)]
    quiet = None if len(unread) > MANY else True
    for name, file in tqdm(unread, f"reading {path}", unit="file", disable=quiet):
        with _errors_of(file):
            found[name][2] = sha256(file)
    if found != known:
        with suppress(OSError), replacing(notes) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    lines = "".join(f"{name}\n{own[2]}\n" for name, own in sorted(found.items()))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


@contextmanager
def _errors_of(file: Path) -> Iterator[None]:
    """Turn an OSError of a file into an InputError."""
    try:
        yield
    except OSError as error:
        dangling = isinstance(error, FileNotFoundError) and file.is_symlink()
        what = "a broken link" if dangling else "cannot be read"
        raise InputError(
            f"{shown(str(file))}: {what} ({error.strerror})", "repair or remove it"
        ) from error


def _below(path: Path) -> Iterator[tuple[str, Path]]:
    """Files below ``path``: name relative to it, and path."""
    if not path.is_dir():
        yield "", path
        return
    for folder, folders, names in os.walk(path, followlinks=True):
        check_link(Path(folder), path)
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                file = Path(folder, name)
                yield file.relative_to(path).as_posix(), file


def check_link(folder: Path, root: Path) -> None:
    """Refuse a link to a folder that contains it: a walk below ``root`` would not end.

    Raises
    ------
    InputError
        If ``folder`` is such a link.
    """
    if folder == root or not folder.is_symlink():
        return
    target = folder.resolve()
    above = [one for one in folder.parents if one == root or root in one.parents]
    if any(one.resolve().is_relative_to(target) for one in above):
        raise InputError(f"{shown(str(folder))}: a link to a folder that contains it", "remove it")


def _read(notes: Path) -> dict[str, list]:
    """The cache, empty if it cannot be read."""
    try:
        known = json.loads(notes.read_text(encoding="utf-8"))
        valid = all(len(own) == 3 and isinstance(own[2], str) for own in known.values())
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
    return known if valid else {}
