"""Replicates: means and intervals over several seeds of one experiment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from early_exit.errors import InputError
from early_exit.statistics.intervals import t_interval


def gather(summaries: dict[int, dict[str, Any]]) -> pd.DataFrame:
    """A row for each quantity, over the replicates' summaries.

    Parameters
    ----------
    summaries
        The content of ``summary.json`` by seed, for at least two seeds.

    Returns
    -------
    pandas.DataFrame
        ``quantity`` (``accuracy_1`` to ``accuracy_K`` of the exits on the test split;
        ``selected_accuracy``, ``selected_macs`` and ``selected_speedup`` of each seed's own
        policy), ``mean``, ``sd`` (n - 1 degrees of freedom), ``low`` and ``high`` (95 % interval of
        the mean), and the value of each seed (``seed_0`` ...).

    Raises
    ------
    InputError
        If there are fewer than 2 replicates, or they have different numbers of exits.
    """
    exits = {summary["exits"] for summary in summaries.values()}
    if len(exits) > 1:
        each = ", ".join(f"@{seed} has {found['exits']}" for seed, found in summaries.items())
        raise InputError(
            f"replicates with {sorted(exits)} exits ({each})",
            "delete the results of the replicates of another network and run again",
        )
    values = pd.DataFrame({seed: _quantities(found) for seed, found in summaries.items()})
    intervals = [t_interval(row) for row in values.to_numpy()]
    low, high = np.array(intervals).T
    table = pd.DataFrame(
        {
            "quantity": values.index,
            "mean": values.mean(axis=1).to_numpy(),
            "sd": values.std(axis=1, ddof=1).to_numpy(),
            "low": low,
            "high": high,
        }
    )
    return table.join(values.add_prefix("seed_").reset_index(drop=True))


def _quantities(summary: dict[str, Any]) -> dict[str, float]:
    exits = {f"accuracy_{k}": share for k, share in enumerate(summary["per_exit_accuracy"], 1)}
    selected = summary["selected"]
    return exits | {f"selected_{key}": selected[key] for key in ("accuracy", "macs", "speedup")}
