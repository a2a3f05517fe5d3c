"""The same experiment with several seeds: means, and how far they can be trusted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from early_exit.errors import InputError


def t_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of the mean of normal values (Student 1908).

    Parameters
    ----------
    values
        Shape (n,), n at least 2.
    confidence
        Coverage, between 0 and 1.

    Raises
    ------
    InputError
        If there are fewer than 2 values.
    """
    if len(values) < 2:
        raise InputError(f"interval of {len(values)} replicates; run 2 at least")
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * error
    mean = float(np.mean(values))
    return float(mean - half), float(mean + half)


def gather(summaries: dict[int, dict[str, Any]]) -> pd.DataFrame:
    """A row for each quantity, over the replicates' summaries.

    Parameters
    ----------
    summaries
        The content of ``summary.json`` by seed, of two seeds at least.

    Returns
    -------
    pandas.DataFrame
        ``quantity`` (``accuracy_1`` .. ``accuracy_K`` of the exits on the test split;
        ``selected_accuracy``, ``selected_macs`` and ``selected_speedup`` of each seed's own
        policy), ``mean``, ``sd`` (of n - 1), ``low`` and ``high`` (95 % interval of the mean), and
        ``seed_0`` .. with each seed's value.

    Raises
    ------
    InputError
        If there are fewer than 2 replicates, or they have different numbers of exits.
    """
    exits = {summary["exits"] for summary in summaries.values()}
    if len(exits) > 1:
        raise InputError(f"replicates with {sorted(exits)} exits; delete the older and run again")
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
