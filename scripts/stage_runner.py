"""What the scripts of all stages share: a log, one clear error, and the threads of the job.

What is imported here, anywhere in the file, counts for every stage, and an edit in it trains every
network again. What some stages share is in stage_engine.py and stage_inputs.py.

Snakemake gives each script an object `snakemake` with the job's input, output, params, log and
threads. A script is `main(snakemake)`, so it can be imported, and called with a stand-in, to debug.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import live_runs
from early_exit.errors import InputError
from early_exit.files import read_json

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

HEAVY = {"matplotlib", "pandas", "pyarrow", "scipy", "sklearn", "torch", "torchvision"}


def run_stage(main: Callable[[Any], None], snakemake: Any) -> None:
    """Run `main`; what the user can mend ends in one line, its traceback in the log."""
    live_runs.join()
    log = snakemake.log[0]
    try:
        _log_to(log)
        main(snakemake)
    except InputError as error:
        _fail(str(error), log)
    except OSError as error:
        _fail(_of_the_system(error), log)
    except Exception:
        logging.exception("This is a fault of the workflow, not of what was given to it.")
        raise
    _note_modules()


def _log_to(path: str) -> None:
    logging.basicConfig(
        filename=path,
        filemode="w",
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        force=True,
    )
    # A log that cannot be written to, on a full disk, is no reason to say more than that once.
    logging.raiseExceptions = False
    logging.captureWarnings(True)


def _of_the_system(error: OSError) -> str:
    """What the system refused, and what to do about it."""
    what = f"{error.filename or 'a file'}: {error.strerror or error}"
    remedy = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.EROFS: "make it writable, or run elsewhere",
        errno.EACCES: "give yourself the permission, or run elsewhere",
    }.get(error.errno, "mend that")
    return f"{what}; {remedy} and run again: what is finished is kept"


def warn(message: str) -> None:
    """Tell the user, and the log, something that does not stop the stage."""
    logging.warning(message)
    print(f"\nwarning: {message}\n", file=sys.stderr)


def _note_modules() -> None:
    """What was imported: the tests hold it against the fingerprints and against the floors."""
    library = sorted(name for name in sys.modules if name.split(".")[0] == "early_exit")
    packages = sorted({name.split(".")[0] for name in sys.modules} & HEAVY)
    logging.info("Library modules used: %s", " ".join(library))
    logging.info("Packages used: %s", " ".join(packages) or "none")


def _fail(message: str, log: str) -> None:
    logging.exception("Stopped: %s", message)
    print(f"\nerror: {message}\n(traceback: {log})\n", file=sys.stderr)
    sys.exit(1)


def use_threads(threads: int) -> int:
    """Let torch use `threads` threads, or as many as there are processors; returns how many."""
    import torch

    _keep_freed_memory()
    threads = max(1, min(threads, processors()))
    torch.set_num_threads(threads)
    return threads


def _keep_freed_memory() -> None:
    """Tell glibc not to give freed memory back: every batch would ask for the same pages again.

    Features are megabytes, which glibc maps and unmaps by default; a pass in batches of 256 spends
    a quarter of its time on the page faults. Where the C library is another one, nothing changes.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, 1 << 30)
    mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def processors() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def read_manifest(
    path: Any, settings: dict[str, Any] | None = None
) -> tuple[dict[str, Any], tuple[str, dict[str, Any]]]:
    """What the data set is, and that as an identity, with its name for messages.

    Raises
    ------
    InputError
        If it is not of the data set and split that ``settings`` ask for.
    """
    manifest = read_json(path, ["dataset", "settings", "digest"])
    described = {"name": manifest["dataset"], **manifest["settings"]}
    if settings is not None and described != {**settings}:
        raise InputError(
            f"{path}: of another data set or split than the experiment's; delete it and run again"
        )
    return manifest, (str(path), {"data": manifest["digest"]})
