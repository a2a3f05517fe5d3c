"""External cost tables, with a row for each exit.

Columns: ``exit`` (from 1), and ``macs``, ``ms`` or both: the cost of a sample that exits there,
including all stages and heads before. Instead of ``macs`` there may be ``relative``, costs in any
other unit, such as shares of the full network. ``head_macs``, ``head_relative`` and ``head_ms`` are
the parts of the exit's own head, so that heads at which no sample can exit are not counted. The
``cost.csv`` of an experiment of this project, with ``cost.json`` beside it, is accepted too.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd

from early_exit.errors import InputError, plain, reason_of
from early_exit.io.files import is_own_table, read_json, read_table, sha256
from early_exit.policy.costs import COLUMNS, PARTS
from early_exit.policy.units import RELATIVE
from early_exit.records.external.columns import MOST_EXITS
from early_exit.records.external.files import side_file

UNITS = ("macs", "ms")
KNOWN = ("exit", *(name for unit in (*UNITS, RELATIVE) for name in (unit, f"head_{unit}")))
# Fewer MACs than any network's; and more than any cost.
LEAST_MACS, MOST = 1000, 1e30
# Bytes.
LARGEST_FILE = 64 * 2**20
OWN = {"part", "exit", "batch_size"}


def read_external_costs(path: str | os.PathLike) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read an external cost table.

    Returns
    -------
    tuple
        The table that :func:`early_exit.policy.costs.costs_from_table` takes, a missing unit empty;
        and a dictionary with its ``batch_size`` and ``regroup``, and ``unit`` for ``relative``
        costs, which are in the column of MACs.

    Raises
    ------
    InputError
        If it cannot be read, or a cost is not valid.
    """
    header = _read(path, nrows=0).columns
    if set(header) >= OWN:
        return _own(path)
    return costs_of_exits(_read(path), str(path))


def costs_of_exits(table: pd.DataFrame, where: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """As :func:`read_external_costs`, from a table in memory.

    Parameters
    ----------
    table
        With the columns in the module's docstring.
    where
        Name of the table in messages.

    Raises
    ------
    InputError
        If a column is missing or unknown, or a number is not valid.
    """
    unknown = [name for name in table.columns if name not in KNOWN]
    missing = "exit" not in table.columns or not {*UNITS, RELATIVE} & {*table.columns}
    if unknown or missing:
        found = plain(", ".join(map(str, table.columns)))
        raise InputError(
            f"{where}: has the columns {found}, but must have exit, and"
            " macs (or relative) or ms or both, and may have head_macs (head_relative) and head_ms"
        )
    unit = {}
    if {RELATIVE, f"head_{RELATIVE}"} & {*table.columns}:
        if "macs" in table.columns or "head_macs" in table.columns:
            raise InputError(f"{where}: has relative costs and macs", "remove one of them")
        table = table.rename(columns={RELATIVE: "macs", f"head_{RELATIVE}": "head_macs"})
        unit = {"unit": RELATIVE}
    exits = _column(table, "exit", where)
    if len(exits) > MOST_EXITS:
        raise InputError(f"{where}: {len(exits)} exits, but at most {MOST_EXITS} are possible")
    if sorted(exits) != list(range(1, len(exits) + 1)):
        raise InputError(f"{where}: needs a row for each exit, numbered 1 to K in the column exit")
    table = table.sort_values("exit", ignore_index=True)
    costs = {unit: _parts(table, unit, where) for unit in UNITS}
    return _table(costs, len(exits)), {"batch_size": 1, "regroup": 0} | unit


def remarks_on_costs(table: pd.DataFrame, machine: dict[str, Any]) -> list[str]:
    """Warnings about a table of :func:`read_external_costs` that is probably not in MACs."""
    total = table.macs[table.part != "overhead"].sum() if table.macs.notna().all() else np.inf
    if total >= LEAST_MACS or machine.get("unit") == RELATIVE:
        return []
    return [
        f"{total:g} MACs for all stages and heads, but networks take thousands or more; if the"
        " costs are in another unit, name the columns relative and head_relative"
    ]


def _read(path: str | os.PathLike, **options: int) -> pd.DataFrame:
    try:
        with open(path, "rb") as file:
            # A cost table has few numbers; a large file is something else.
            if os.fstat(file.fileno()).st_size > LARGEST_FILE:
                raise ValueError(f"more than {LARGEST_FILE // 2**20} MB")
            return pd.read_csv(file, skipinitialspace=True, comment="#", **options)
    except (OSError, ValueError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else reason_of(error)
        raise InputError(f"{path}: cannot be read as CSV ({reason})", "write it again") from error


def _own(path: str | os.PathLike) -> tuple[pd.DataFrame, dict[str, int]]:
    """The ``cost.csv`` of another experiment, and its settings."""
    beside = side_file(path)
    if not is_own_table(path) or beside is None:
        raise InputError(
            f"{path}: written by this project, but changed since: it must be called cost.csv, keep"
            " its first line, a comment, and have cost.json beside it"
        )
    try:
        table = read_table(path, COLUMNS)
        machine = read_json(beside, ["batch_size", "regroup", "identity"])
    except InputError as error:
        raise error.for_users_file() from error
    if machine["identity"].get("costs") != sha256(path):
        raise InputError(f"{beside}: belongs to another cost.csv", "copy both files")
    kept = ("batch_size", "regroup", "unit")
    return table, {key: machine[key] for key in kept if key in machine}


def _column(table: pd.DataFrame, name: str, path: str | os.PathLike) -> np.ndarray:
    try:
        numbers = table[name].to_numpy(float)
    except (ValueError, TypeError, OverflowError):
        numbers = np.array([np.nan])
    if not (len(numbers) and np.isfinite(numbers).all() and (numbers >= 0).all()):
        raise InputError(f"{path}: {name} must be numbers of at least 0, without empty cells")
    if numbers.max() > MOST:
        raise InputError(f"{path}: {name} up to {numbers.max():g}", "use a larger unit")
    return numbers


def _parts(
    table: pd.DataFrame, unit: str, path: str | os.PathLike
) -> tuple[np.ndarray, np.ndarray] | None:
    """Costs of stages and heads, each of shape (K,), or ``None`` if the unit is missing."""
    head = f"head_{unit}"
    if unit not in table.columns:
        if head in table.columns:
            raise InputError(f"{path}: has {head} without {unit}", f"add {unit} for each exit")
        return None
    added = np.diff(_column(table, unit, path), prepend=0.0)
    if not (added > 0).all():
        number = 1 + int((added <= 0).argmax())
        raise InputError(
            f"{path}: {unit} must grow from exit to exit, but does not at exit {number}: it is the"
            " cost of a sample that exits there, including all stages and heads before"
        )
    heads = _column(table, head, path) if head in table.columns else np.zeros(len(added))
    if (heads > added).any():
        number = 1 + int((heads > added).argmax())
        raise InputError(
            f"{path}: {head} of exit {number} is {heads[number - 1]:g}, but stage and head together"
            f" add only {added[number - 1]:g} {unit}"
        )
    return added - heads, heads


def _table(costs: dict[str, tuple[np.ndarray, np.ndarray] | None], exits: int) -> pd.DataFrame:
    """A row for each part and exit; the overhead is included in the head."""
    columns = {}
    for unit, name in zip(UNITS, COLUMNS[3:], strict=True):
        known = costs[unit]
        nothing = np.zeros(exits) if known else np.full(exits, np.nan)
        numbers = np.concatenate([*(known or (nothing, nothing)), nothing])
        # Integers are written with all their digits.
        integral = bool(known) and (numbers == np.rint(numbers)).all()
        columns[name] = numbers.astype(np.int64) if integral else numbers
    keys = {
        "part": np.repeat(PARTS, exits),
        "exit": np.tile(np.arange(1, exits + 1), len(PARTS)),
        "batch_size": 1,
    }
    return pd.DataFrame(keys | columns)
