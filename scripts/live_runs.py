"""Which runs are alive, so that the lock of one that was killed does not stop the next.

Snakemake locks a folder by files, and these stay where it is killed. Every run, and every job, also
holds a shared lock of the operating system's, which goes with its process. A run that finds itself
alone takes Snakemake's lock for what a killed one left. Not so after a run on a cluster: its jobs
may wait in the queue still, so there the lock stays for the user to judge (`snakemake --unlock`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

FOLDER = Path(".snakemake")
LOCAL, REMOTE = b"local", b"remote"

# Open, and so locked, as long as the process lives.
_held: list[int] = []


def join() -> None:
    """Count a job among the living."""
    if FOLDER.is_dir():
        _join(clear=False)


def join_and_clear() -> None:
    """Count a run among the living, and remove the lock of a killed local one."""
    FOLDER.mkdir(exist_ok=True)
    _join(clear=True)


def started(remote: bool) -> None:
    """Note where the jobs of this run go; what is said of a cluster stays while others live."""
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
        # A file system without such locks, or a folder of somebody else's: nothing is cleared.
        return


def _alone(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _text(file: int) -> bytes:
    return os.pread(file, len(REMOTE), 0).strip()
