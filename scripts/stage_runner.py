"""What the scripts of all stages share: a log, one clear error, and the threads of the job.

Snakemake gives each script an object `snakemake` with the job's input, output, params, log and
threads. A script is `main(snakemake)`, so it can be imported, and called with a stand-in, to debug.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import live_runs
from early_exit.errors import InputError

if TYPE_CHECKING:
    from early_exit.cost_model import CostModel
    from early_exit.engine import Engine
    from early_exit.policy import Policy
    from early_exit.records import Records

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


def ready_to_run(
    inference: dict[str, Any], manifest: dict[str, Any] | None = None
) -> tuple[Engine, dict[str, Any], int | None]:
    """The engine of the setting `inference`, for the pictures of a data set; torch's threads set.

    With it the setting as it was taken (threads are those that are there), and how many samples
    that are left of batches wait for each other.
    """
    from early_exit.engine import Engine, scaling

    taken = inference | {"threads": use_threads(inference["threads"])}
    taken_by = (taken[key] for key in ("device", "precision", "memory_format"))
    engine = Engine(*taken_by, **scaling(manifest or {}))
    waits = engine.worth_waiting_for(taken["batch_size"]) if taken["regroup"] else None
    return engine, taken, waits


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
    """Identity of a stage's side file, JSON or CSV, with its name for messages."""
    from early_exit.files import read_json, read_table

    if str(path).endswith(".csv"):
        return str(path), read_table(path, []).attrs["identity"]
    return str(path), read_json(path, ["identity"])["identity"]


def read_manifest(
    path: Any, settings: dict[str, Any] | None = None
) -> tuple[dict[str, Any], tuple[str, dict[str, Any]]]:
    """What the data set is, and that as an identity, with its name for messages.

    Raises
    ------
    InputError
        If it is not of the data set and split that ``settings`` ask for.
    """
    from early_exit.files import read_json

    manifest = read_json(path, ["dataset", "settings", "digest"])
    described = {"name": manifest["dataset"], **manifest["settings"]}
    if settings is not None and described != {**settings}:
        raise InputError(
            f"{path}: of another data set or split than the experiment's; delete it and run again"
        )
    return manifest, (str(path), {"data": manifest["digest"]})


def read_described(path: Any, what: str, file: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifest of records from elsewhere, and the identity of what is made of them.

    Raises
    ------
    InputError
        If ``file`` is not the one that the manifest describes as ``what``.
    """
    from early_exit.files import sha256

    manifest, _ = read_manifest(path)
    if manifest.get("files", {}).get(what) != sha256(file):
        raise InputError(f"{file}: not the file that {path} describes; delete {path} and run again")
    return manifest, {"network": manifest["digest"], "data": manifest["digest"]}


def read_split(path: Any, logits: bool = False) -> Records:
    """The records of the split that a file is named after.

    Raises
    ------
    InputError
        If they are of another split, and so would be used for what they must not be.
    """
    from early_exit.records import read_records

    records = read_records(path, logits=logits)
    _check_split(path, records.identity)
    return records


def _check_split(path: Any, identity: dict[str, Any]) -> None:
    expected, found = Path(path).stem, identity.get("split")
    if found != expected:
        raise InputError(
            f"{path}: holds the split {found}, not {expected}; delete it and run again"
        )


def identity_of(records: Records, files: Any) -> dict[str, Any]:
    """What a job's results were made from: its records and, where it has any, its prices."""
    return made_from(records.identity, files)


def made_from(identity: dict[str, Any], files: Any) -> dict[str, Any]:
    """As :func:`identity_of`, from the identity of the records."""
    own = {key: identity[key] for key in ("network", "data", "split")}
    if files.get("machine"):
        own["costs"] = origin(files.machine)[1]["costs"]
    return own


def read_seen(files: Any, params: Any) -> tuple[Records, Policy]:
    """A job's `records`, and the policy that sees them as the experiment says: nobody leaves.

    The job has the params `measure` and, unless it takes both rules in turn, `exit_rule`; and the
    input `temperatures` where logits are scaled.
    """
    records = read_split(files.records, logits=_needs_logits(files, params))
    return records, seen_by(files, params, records.identity)


def pieces_seen(
    files: Any, params: Any, part: int = 1, parts: int = 1
) -> tuple[dict[str, Any], Policy, Iterator[Records]]:
    """As :func:`read_seen`, a row group at a time: their identity, the policy, and the pieces."""
    from early_exit.records import read_identity, read_pieces

    identity = read_identity(files.records)
    _check_split(files.records, identity)
    sees = seen_by(files, params, identity)
    pieces = read_pieces(files.records, _needs_logits(files, params), part, parts)
    return identity, sees, pieces


def seen_by(files: Any, params: Any, identity: dict[str, Any]) -> Policy:
    """The policy that sees a job's records, of which this is the identity."""
    from early_exit.files import read_json
    from early_exit.policy import ExitRule, whole_network
    from early_exit.records import check_same_origin

    identities = [(files.records, identity), origin(files.machine)]
    temperatures, scaled = None, files.get("temperatures")
    if scaled:
        identities.append(origin(scaled))
        temperatures = tuple(read_json(scaled, ["temperatures"])["temperatures"])
    check_same_origin(*identities)
    rule = ExitRule(params.get("exit_rule", "below"))
    return whole_network(params.measure, rule, identity["exits"], temperatures)


def _needs_logits(files: Any, params: Any) -> bool:
    from early_exit.policy import RECORDED

    return params.measure not in RECORDED or bool(files.get("temperatures"))


def costs_of(files: Any) -> CostModel:
    """The prices that a job was given as `costs` and `machine`, which belong together."""
    from early_exit.cost_model import read_costs
    from early_exit.files import read_json, sha256
    from early_exit.records import check_same_origin

    machine = read_json(files.machine, ["batch_size", "regroup"])
    costs = read_costs(files.costs, machine["batch_size"], machine["regroup"])
    check_same_origin((files.costs, {"costs": sha256(files.costs)}), origin(files.machine))
    return costs


def figures_folder(outputs: Any) -> Path:
    """The folder that a drawing job's outputs share."""
    return Path(outputs[0]).parent
