"""Does a folder, or a file, still hold what it held? Asked often, and read only where it must be.

What a file's checksum was is noted with its size and time; as long as those are the same it is not
read again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from early_exit.errors import InputError
from early_exit.files import replacing, sha256

# More than this shows a bar.
MANY = 500


def checksum(path: Path, notes: Path) -> str:
    """A SHA-256 of a file, or of all names and contents below a folder; hidden files don't count.

    Parameters
    ----------
    notes
        A file for what is known, in a folder that need not be there. Where it cannot be written,
        everything is read each time.

    Raises
    ------
    InputError
        If a file cannot be read.
    """
    known = _read(notes)
    found, unread = {}, []
    for name, place in _below(path):
        with _told_of(place):
            stat = place.stat()
        own = known.get(name)
        seen = [stat.st_size, stat.st_mtime_ns]
        found[name] = [*seen, own[2] if own and own[:2] == seen else ""]
        unread += [] if found[name][2] else [(name, place)]
    quiet = None if len(unread) > MANY else True
    for name, place in tqdm(unread, f"reading {path}", unit="file", disable=quiet):
        with _told_of(place):
            found[name][2] = sha256(place)
    if found != known:
        with suppress(OSError), replacing(notes) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    lines = "".join(f"{name}\n{own[2]}\n" for name, own in sorted(found.items()))
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


@contextmanager
def _told_of(place: Path) -> Iterator[None]:
    """What the system refuses of a file, in one line."""
    try:
        yield
    except OSError as error:
        gone = isinstance(error, FileNotFoundError) and place.is_symlink()
        what = "a link to nothing" if gone else "cannot be read"
        raise InputError(f"{place}: {what} ({error.strerror}); mend it, or take it away") from error


def _below(path: Path) -> Iterator[tuple[str, Path]]:
    """Names relative to ``path``, and where they are."""
    if not path.is_dir():
        yield "", path
        return
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                place = Path(folder, name)
                yield place.relative_to(path).as_posix(), place


def _read(notes: Path) -> dict[str, list]:
    """What was noted; nothing where that cannot be read."""
    try:
        known = json.loads(notes.read_text(encoding="utf-8"))
        whole = all(len(own) == 3 and isinstance(own[2], str) for own in known.values())
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
    return known if whole else {}
