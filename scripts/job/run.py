"""Shared by the scripts of all steps: the log, one-line errors, warnings and threads.

Imports of this module count for every step: an edit in one trains every network again. Code that
only some steps need is in engine.py, inputs.py and record_inputs.py.

Snakemake gives each script an object `snakemake` with the job's input, output, params, log and
threads. Each script defines `main(snakemake)`, so it can be imported and called with a stand-in.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from early_exit.config.job_code import check_code
from early_exit.errors import AGAIN, LONGEST_OWN, InputError, plain, reason_of
from early_exit.io.files import read_json
from job import lock

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

SCRIPTS = Path(__file__).resolve().parents[1]
NO_MEMORY = re.compile(
    r"out of memory|can't allocate memory|cannot allocate memory|std::bad_alloc", re.IGNORECASE
)

HEAVY = {"matplotlib", "pandas", "pyarrow", "scipy", "sklearn", "torch", "torchvision"}


def run_job(main: Callable[[Any], None], snakemake: Any) -> None:
    """Run `main`; errors that the user can fix print one line, with the traceback in the log."""
    lock.join()
    log = snakemake.log[0]
    try:
        _log_to(log)
        check_code(SCRIPTS, _params(snakemake).get("code") or [])
        main(snakemake)
    except InputError as error:
        _fail(str(error), log)
    except Exception as error:
        if out_of_memory(error):
            _fail(_memory_message(snakemake, error), log)
        if isinstance(error, OSError):
            _fail(_system_message(error), log)
        logging.exception("This is a fault of the workflow, not of its input.")
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
    # On a full disk, do not print a traceback for every log record.
    logging.raiseExceptions = False
    logging.captureWarnings(True)


def _system_message(error: OSError) -> str:
    """Message for an error of the operating system, with its remedy."""
    what = f"{error.filename or 'a file'}: {error.strerror or error}"
    remedy = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.EROFS: "make it writable, or run elsewhere",
        errno.EACCES: "give yourself the permission, or run elsewhere",
    }.get(error.errno, "fix that")
    return f"{what}; {remedy} and run again: finished files are kept"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of a library, or of the system, means out of memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch raises RuntimeErrors; only those of a GPU have a class of their own.
    named = isinstance(error, RuntimeError) and NO_MEMORY.search(str(error))
    return isinstance(error, MemoryError) or bool(named)


def _memory_message(snakemake: Any, error: BaseException) -> str:
    """Message for a job out of memory, with the settings that reduce its need."""
    params = _params(snakemake)
    settings = [f"{name}.batch_size" for name in ("training", "inference") if params.get(name)]
    smaller = f", with a smaller {settings[0]}" if settings else ""
    rule = getattr(snakemake, "rule", "the rule")
    return (
        f"{rule}: out of memory ({reason_of(error)}); run again with fewer --cores, so that"
        f" fewer jobs run beside it{smaller}, or on a machine with more; on a cluster set more in"
        f" the profile (set-resources: {rule}: mem_mb)"
    )


def _params(snakemake: Any) -> Any:
    """Parameters of a job; a stand-in may have none."""
    return getattr(snakemake, "params", {})


def warn(message: str) -> None:
    """Print a warning, and write it to the log."""
    logging.warning(message)
    print(f"\nwarning: {message}\n", file=sys.stderr)


def _note_modules() -> None:
    """Log the imported modules; tests compare them with the code fingerprints."""
    library = sorted(name for name in sys.modules if name.split(".")[0] == "early_exit")
    packages = sorted({name.split(".")[0] for name in sys.modules} & HEAVY)
    logging.info("Library modules used: %s", " ".join(library))
    logging.info("Packages used: %s", " ".join(packages) or "none")


def _fail(message: str, log: str) -> None:
    # Names of files and classes are the user's and may contain line breaks or escape codes.
    message = plain(message, LONGEST_OWN)
    logging.exception("Stopped: %s", message)
    print(f"\nerror: {message}\n(traceback: {log})\n", file=sys.stderr)
    sys.exit(1)


def use_threads(threads: int) -> int:
    """Set torch's threads to `threads`, at most one per processor; returns the number."""
    import torch

    _keep_freed_memory()
    threads = max(1, min(threads, processors()))
    torch.set_num_threads(threads)
    return threads


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory, which the next batch needs again.

    Features are megabytes, which glibc maps and unmaps by default; a pass in batches of 256 spends
    a quarter of its time on page faults. With another C library nothing changes.
    """
    import ctypes

    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_MMAP_THRESHOLD, 1 << 30)
    mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def processors() -> int:
    """Number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def read_manifest(
    path: Any, settings: dict[str, Any] | None = None
) -> tuple[dict[str, Any], tuple[str, dict[str, Any]]]:
    """Content of a data set's manifest, and its provenance with the path for messages.

    Raises
    ------
    InputError
        If it is not of the data set and calibration split in ``settings``.
    """
    manifest = read_json(path, ["dataset", "settings", "digest"])
    described = {"name": manifest["dataset"], **manifest["settings"]}
    if settings is not None and described != {**settings}:
        raise InputError(f"{path}: of another data set or split than the experiment's", AGAIN)
    return manifest, (str(path), {"data": manifest["digest"]})
