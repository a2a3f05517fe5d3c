"""What the scripts of all stages share: a log, one clear error, and the threads of the job.

Snakemake gives each script an object `snakemake` with the job's input, output, params, log and
threads. A script is `main(snakemake)`, so it can be imported, and called with a stand-in, to debug.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.errors import InputError

if TYPE_CHECKING:
    from early_exit.cost_model import CostModel
    from early_exit.policy import Policy
    from early_exit.records import Records

# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

HEAVY = {"matplotlib", "pandas", "pyarrow", "scipy", "sklearn", "torch", "torchvision"}


def run_stage(main: Callable[[Any], None], snakemake: Any) -> None:
    """Run `main`; what the user can mend ends in one line, its traceback in the log."""
    log = snakemake.log[0]
    logging.basicConfig(
        filename=log, filemode="w", level=logging.INFO, format="%(asctime)s %(message)s", force=True
    )
    logging.captureWarnings(True)
    try:
        main(snakemake)
    except InputError as error:
        _fail(str(error), log)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", log)
    except Exception:
        logging.exception("This is a fault of the workflow, not of what was given to it.")
        raise
    _note_modules()


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


def origin(path: Any) -> tuple[str, dict[str, Any]]:
    """Identity of a stage's side file, read from JSON, with its name for messages."""
    from early_exit.files import read_json

    content = read_json(path)
    identity = content.get("identity") if isinstance(content, dict) else None
    if not isinstance(identity, dict):
        raise InputError(f"{path}: has no identity; delete it and run again")
    return str(path), identity


def read_seen(files: Any, params: Any) -> tuple[Records, Policy]:
    """A job's `records`, and the policy that sees them as the experiment says: nobody leaves.

    The job has the params `measure` and, unless it takes both rules in turn, `exit_rule`; and the
    input `temperatures` where logits are scaled.
    """
    from early_exit.files import read_json
    from early_exit.policy import ExitRule, whole_network
    from early_exit.records import check_same_origin, read_records

    scaled = files.get("temperatures")
    records = read_records(files.records, logits=params.measure != "entropy" or bool(scaled))
    identities = [(files.records, records.identity), origin(files.machine)]
    temperatures = None
    if scaled:
        identities.append(origin(scaled))
        temperatures = tuple(read_json(scaled)["temperatures"])
    check_same_origin(*identities)
    rule = ExitRule(params.get("exit_rule", "below"))
    return records, whole_network(params.measure, rule, records.exits, temperatures)


def costs_of(files: Any) -> CostModel:
    """The prices that a job was given as `costs` and `machine`."""
    from early_exit.cost_model import read_costs
    from early_exit.files import read_json

    machine = read_json(files.machine)
    return read_costs(files.costs, machine["batch_size"], machine["regroup"])


def figures_folder(outputs: Any) -> Path:
    """The folder that a drawing job's outputs share."""
    return Path(outputs[0]).parent
