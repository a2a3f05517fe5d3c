"""Removal of stale Snakemake locks, so that a killed run does not block the next.

Snakemake locks a folder by files, which stay behind when it is killed. Every run, and every job,
also holds a shared lock of the operating system, which is released when its process ends. A run
that finds no other holder removes Snakemake's lock as stale. Not after a run on a cluster: its jobs
may still be queued, so the user has to decide (`snakemake --unlock`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

FOLDER = Path(".snakemake")
LOCAL, REMOTE = b"local", b"remote"

# Open, and so locked, until the process ends.
_held: list[int] = []


def join() -> None:
    """Take the shared lock for a job."""
    if FOLDER.is_dir():
        _join(clear=False)


def join_and_clear() -> None:
    """Take the shared lock for a run, and remove the lock of a killed local run."""
    FOLDER.mkdir(exist_ok=True)
    _join(clear=True)


def started(remote: bool) -> None:
    """Note whether this run's jobs are remote; a note of a remote run stays while others run."""
    for file in _held:
        if _alone(file) or _text(file) != REMOTE:
            os.pwrite(file, REMOTE if remote else LOCAL + b" ", 0)
        fcntl.flock(file, fcntl.LOCK_SH)


def _join(clear: bool) -> None:
    try:
        file = os.open(FOLDER / "alive", os.O_RDWR | os.O_CREAT, 0o666)
        if clear and _alone(file) and _text(file) == LOCAL:
            shutil.rmtree(FOLDER / "locks", ignore_errors=True)
        fcntl.flock(file, fcntl.LOCK_SH)
        _held.append(file)
    except OSError:
        # A file system without such locks, or a folder of another user: nothing is removed.
        return


def _alone(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _text(file: int) -> bytes:
    return os.pread(file, len(REMOTE), 0).strip()
