"""What each exit costs, from elsewhere: a table with a row an exit.

Columns: ``exit`` (from 1), and ``macs``, ``ms`` or both: what a sample costs that leaves there,
every stage and head up to there included. ``head_macs`` and ``head_ms`` say what of it the exit's
own head takes, so that heads at which nobody can leave are not paid for. Or the ``cost.csv`` of an
experiment of this project, with the ``cost.json`` beside it.
"""

from __future__ import annotations

import os

import numpy as np
import pandas as pd

from early_exit.cost_model import COLUMNS, PARTS
from early_exit.errors import InputError
from early_exit.files import SEAL, read_json, read_table, sha256
from early_exit.foreign_files import side_file

UNITS = ("macs", "ms")
KNOWN = ("exit", *UNITS, *(f"head_{unit}" for unit in UNITS))
OWN = {"part", "exit", "batch_size"}


def read_foreign_costs(path: str | os.PathLike) -> tuple[pd.DataFrame, dict[str, int]]:
    """A cost table as this project has it.

    Returns
    -------
    tuple
        The table of :func:`early_exit.cost_model.read_costs`, a unit that is not known empty; and
        the ``batch_size`` and ``regroup`` that it is for.

    Raises
    ------
    InputError
        If it cannot be read, or a price is none that it can be.
    """
    header = _read(path, nrows=0).columns
    if set(header) >= OWN:
        return _own(path, SEAL in header)
    table = _read(path)
    unknown = [name for name in table.columns if name not in KNOWN]
    missing = "exit" not in table.columns or not {*UNITS} & {*table.columns}
    if unknown or missing:
        raise InputError(
            f"{path}: has the columns {', '.join(map(str, table.columns))}; must have exit, and"
            " macs or ms or both, and may have head_macs and head_ms"
        )
    exits = _column(table, "exit", path)
    if sorted(exits) != list(range(1, len(exits) + 1)):
        raise InputError(f"{path}: needs a row for each exit, numbered 1 to K in the column exit")
    table = table.sort_values("exit", ignore_index=True)
    prices = {unit: _prices(table, unit, path) for unit in UNITS}
    return _table(prices, len(exits)), {"batch_size": 1, "regroup": 0}


def _read(path: str | os.PathLike, **options: int) -> pd.DataFrame:
    try:
        return pd.read_csv(path, skipinitialspace=True, **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path}: no readable CSV ({reason}); write it again") from error


def _own(path: str | os.PathLike, sealed: bool) -> tuple[pd.DataFrame, dict[str, int]]:
    """The table of another experiment, and what it is for."""
    beside = side_file(path)
    if not sealed or beside is None:
        raise InputError(
            f"{path}: of this project, but not as it was written; it must be called cost.csv, have"
            " its column seal, and cost.json beside it"
        )
    try:
        table = read_table(path, COLUMNS)
        machine = read_json(beside, ["batch_size", "regroup", "identity"])
    except InputError as error:
        text = str(error).replace("delete it and run again", "take a whole copy of it")
        raise InputError(text) from error
    if machine["identity"].get("costs") != sha256(path):
        raise InputError(f"{beside}: of another cost.csv than the one beside it; copy both")
    return table, {key: machine[key] for key in ("batch_size", "regroup")}


def _column(table: pd.DataFrame, name: str, path: str | os.PathLike) -> np.ndarray:
    try:
        numbers = table[name].to_numpy(float)
    except ValueError:
        numbers = np.array([np.nan])
    if not (len(numbers) and np.isfinite(numbers).all() and (numbers >= 0).all()):
        raise InputError(f"{path}: {name} must be numbers, none below 0 and no cell empty")
    return numbers


def _prices(
    table: pd.DataFrame, unit: str, path: str | os.PathLike
) -> tuple[np.ndarray, np.ndarray] | None:
    """What each stage and each head takes, shape (K,), or nothing where it is not known."""
    head = f"head_{unit}"
    if unit not in table.columns:
        if head in table.columns:
            raise InputError(f"{path}: has {head} without {unit}; add {unit}, exit by exit")
        return None
    added = np.diff(_column(table, unit, path), prepend=0.0)
    if not (added > 0).all():
        place = 1 + int((added <= 0).argmax())
        raise InputError(
            f"{path}: {unit} must grow from exit to exit, and does not at exit {place}: it is what"
            " a sample costs that leaves there, with all that ran before"
        )
    heads = _column(table, head, path) if head in table.columns else np.zeros(len(added))
    if (heads > added).any():
        place = 1 + int((heads > added).argmax())
        raise InputError(
            f"{path}: {head} of exit {place} is {heads[place - 1]:g}, but with its stage the exit"
            f" adds only {added[place - 1]:g} {unit}; the head is a part of that"
        )
    return added - heads, heads


def _table(prices: dict[str, tuple[np.ndarray, np.ndarray] | None], exits: int) -> pd.DataFrame:
    """A row for each part and exit; the overhead of an exit is within its head."""
    columns = {}
    for unit, name in zip(UNITS, COLUMNS[3:], strict=True):
        known = prices[unit]
        nothing = np.zeros(exits) if known else np.full(exits, np.nan)
        numbers = np.concatenate([*(known or (nothing, nothing)), nothing])
        # Whole numbers are written with all their digits.
        whole = bool(known) and (numbers == np.rint(numbers)).all()
        columns[name] = numbers.astype(np.int64) if whole else numbers
    place = {
        "part": np.repeat(PARTS, exits),
        "exit": np.tile(np.arange(1, exits + 1), len(PARTS)),
        "batch_size": 1,
    }
    return pd.DataFrame(place | columns)
