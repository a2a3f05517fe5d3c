"""Which runs are alive, so that the lock of one that was killed does not stop the next.

Snakemake locks a folder by files, and these stay where it is killed. Every run, and every job, also
holds a shared lock of the operating system's, which goes with its process. A run that finds itself
alone takes Snakemake's lock for what a killed one left. Not so after a run on a cluster: its jobs
may wait in the queue still, so there the lock stays for the user to judge (`snakemake --unlock`).
"""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from typing import IO

FOLDER = Path(".snakemake")
LOCAL, REMOTE = "local", "remote"

# Open, and so locked, as long as the process lives.
_held: list[IO[str]] = []


def join(clear: bool = False) -> None:
    """Count among the living; with ``clear``, remove the lock of a killed local run.

    A file system without such locks is no reason to stop: then nothing is cleared.
    """
    try:
        FOLDER.mkdir(exist_ok=True)
        file = open(FOLDER / "alive", "a+", encoding="utf-8")  # noqa: SIM115
        _held.append(file)
        if clear and _alone(file) and _text(file) == LOCAL:
            shutil.rmtree(FOLDER / "locks", ignore_errors=True)
        fcntl.flock(file, fcntl.LOCK_SH)
    except OSError:
        return


def started(remote: bool) -> None:
    """Note where the jobs of this run go. One word about a cluster is kept until all are gone."""
    for file in _held:
        if not (_text(file) == REMOTE and not _alone(file)):
            file.truncate(0)
            file.write(REMOTE if remote else LOCAL)
            file.flush()
        fcntl.flock(file, fcntl.LOCK_SH)


def _alone(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()
