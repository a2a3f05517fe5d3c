"""What a sample costs that leaves at a given exit, from the prices of stages and heads.

Stages and heads are priced apart, since a head that can never fire need not run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from early_exit.errors import InputError
from early_exit.files import read_table
from early_exit.policy import Policy

COLUMNS = ["part", "exit", "macs", "ms_per_sample"]


@dataclass(frozen=True)
class CostModel:
    """Prices of the K stages and K heads.

    Attributes
    ----------
    stage_macs, head_macs
        Shape (K,), multiply-accumulates for one sample.
    stage_ms, head_ms
        Shape (K,), measured milliseconds for one sample.
    """

    stage_macs: np.ndarray
    head_macs: np.ndarray
    stage_ms: np.ndarray
    head_ms: np.ndarray

    @property
    def exits(self) -> int:
        """K, the number of exits."""
        return len(self.stage_macs)

    def macs(self, policy: Policy) -> np.ndarray:
        """MACs of a sample that leaves at each exit under ``policy``, shape (K,)."""
        return _cumulative(self.stage_macs, self.head_macs, policy)

    def ms(self, policy: Policy) -> np.ndarray:
        """Milliseconds of a sample that leaves at each exit under ``policy``, shape (K,)."""
        return _cumulative(self.stage_ms, self.head_ms, policy)


def _cumulative(stages: np.ndarray, heads: np.ndarray, policy: Policy) -> np.ndarray:
    if policy.exits != len(stages):
        raise InputError(f"policy: made for {policy.exits} exits, the costs are for {len(stages)}")
    return np.cumsum(stages + heads * np.array(policy.heads_run))


def read_costs(path: str | os.PathLike) -> CostModel:
    """Read ``cost.csv``: a row for each stage and each head, exits numbered from 1.

    Raises
    ------
    InputError
        If a stage or head is missing, or a price is not a positive number.
    """
    table = read_table(path, COLUMNS)
    stages = table[table.part == "stage"].sort_values("exit")
    heads = table[table.part == "head"].sort_values("exit")
    numbers = list(range(1, len(stages) + 1))
    if stages.exit.tolist() != numbers or heads.exit.tolist() != numbers:
        raise InputError(
            f"{path}: needs one stage and one head for each exit; delete it and run again"
        )
    prices = [part[name].to_numpy(float) for name in COLUMNS[2:] for part in (stages, heads)]
    if not all(np.isfinite(price).all() and (price >= 0).all() for price in prices):
        raise InputError(f"{path}: a price is not a positive number; delete it and run again")
    return CostModel(*prices)
