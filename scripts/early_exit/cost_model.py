"""What a sample costs that leaves at a given exit, from the prices of stages and heads.

Stages and heads are priced apart, since a head that can never fire need not run; and for several
batch sizes, since a batch gets smaller on its way and a small one is dearer a sample.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from early_exit.errors import InputError
from early_exit.files import read_table
from early_exit.policy import Policy, whole_network

COLUMNS = ["part", "exit", "batch_size", "macs", "ms_per_sample"]
PARTS = ("stage", "head", "overhead")


@dataclass(frozen=True)
class CostModel:
    """Prices of the K stages and K heads, times for B batch sizes.

    Attributes
    ----------
    stage_macs, head_macs
        Shape (K,), multiply-accumulates for one sample.
    batch_sizes
        Shape (B,), ascending.
    stage_ms, head_ms, overhead_ms
        Shape (B, K), measured milliseconds for one sample; the overhead is uncertainty, decision
        and thinning the batch.
    batch_size
        Of the batches in which the network is run.
    """

    stage_macs: np.ndarray
    head_macs: np.ndarray
    batch_sizes: np.ndarray
    stage_ms: np.ndarray
    head_ms: np.ndarray
    overhead_ms: np.ndarray
    batch_size: int

    @property
    def exits(self) -> int:
        """K, the number of exits."""
        return len(self.stage_macs)

    def macs(self, policy: Policy) -> np.ndarray:
        """MACs of a sample that leaves at each exit under ``policy``, shape (K,)."""
        return np.cumsum(self.stage_macs + self.head_macs * self._heads_run(policy))

    def ms(self, policy: Policy) -> np.ndarray:
        """Milliseconds of a sample that leaves at each exit, in full batches, shape (K,)."""
        return np.cumsum(self._prices(policy, np.full(self.exits, self.batch_size)))

    def predicted_ms(self, policy: Policy, exit_shares: np.ndarray) -> np.ndarray:
        """Mean milliseconds a sample, the batch thinning out on its way.

        Parameters
        ----------
        exit_shares
            Shape (..., K), shares of samples leaving at each exit.

        Returns
        -------
        numpy.ndarray
            Shape (...).
        """
        shares = np.asarray(exit_shares)
        # Who reaches exit k: all who did not leave before. Rounding must not make it negative.
        reach = np.clip(1.0 - np.cumsum(shares, axis=-1) + shares, 0.0, 1.0)
        return (reach * self._prices(policy, self.batch_size * reach)).sum(axis=-1)

    def _prices(self, policy: Policy, sizes: np.ndarray) -> np.ndarray:
        """Milliseconds a sample of each stage with its head, in batches of ``sizes`` (..., K)."""
        heads = self._heads_run(policy)
        size = np.log(np.maximum(sizes, 1.0))
        known = np.log(self.batch_sizes)
        prices = np.empty(size.shape)
        for k in range(self.exits):
            price = self.stage_ms[:, k] + heads[k] * (self.head_ms[:, k] + self.overhead_ms[:, k])
            prices[..., k] = np.interp(size[..., k], known, price)
        return prices

    def _heads_run(self, policy: Policy) -> np.ndarray:
        if policy.exits != self.exits:
            raise InputError(
                f"policy: made for {policy.exits} exits, the costs are for {self.exits}"
            )
        return np.array(policy.heads_run)


def break_even(
    costs: CostModel, policy: Policy, exit_shares: np.ndarray, batch_size: int
) -> float | None:
    """The share of early leavers from which ``policy`` is faster than the whole network.

    Parameters
    ----------
    exit_shares
        Shape (K,), where the samples leave under the policy: early leavers are spread over the
        early exits in these proportions, however many they are.

    Returns
    -------
    float or None
        Between 0 and 1; ``None`` if it does not pay even if everybody leaves early.
    """
    costs = replace(costs, batch_size=batch_size)
    last = np.eye(costs.exits)[-1]
    early = np.where(last == 1, 0.0, exit_shares)
    if early.sum() == 0:
        return None
    early = early / early.sum()
    whole = whole_network(policy.measure, policy.rule, policy.exits)
    static = costs.predicted_ms(whole, last)
    shares = np.linspace(0.0, 1.0, 1001)
    times = costs.predicted_ms(policy, np.outer(shares, early) + np.outer(1 - shares, last))
    paying = np.flatnonzero(times <= static)
    return float(shares[paying[0]]) if len(paying) else None


def read_costs(path: str | os.PathLike, batch_size: int) -> CostModel:
    """Read ``cost.csv``: a row for each part, exit (from 1) and batch size.

    Parameters
    ----------
    batch_size
        Of the batches in which the network is run; from ``cost.json``.

    Raises
    ------
    InputError
        If a stage or head is missing, or a price is not a positive number.
    """
    table = read_table(path, COLUMNS)
    exits = sorted(table.exit.unique())
    sizes = sorted(table.batch_size.unique())
    expected = pd.MultiIndex.from_product([PARTS, sizes, exits])
    prices = table.set_index(["part", "batch_size", "exit"]).sort_index()
    whole = exits == list(range(1, len(exits) + 1)) and prices.index.is_unique
    if not whole or not prices.index.sort_values().equals(expected.sort_values()):
        raise InputError(
            f"{path}: needs a stage, a head and an overhead for each exit and batch size; delete it"
            " and run again"
        )
    numbers = prices[COLUMNS[3:]].to_numpy(float)
    if not (np.isfinite(numbers).all() and (numbers >= 0).all()):
        raise InputError(f"{path}: a price is not a positive number; delete it and run again")

    def grid(part: str, column: str) -> np.ndarray:
        return prices.loc[part][column].to_numpy(float).reshape(len(sizes), len(exits))

    return CostModel(
        grid("stage", "macs")[0],
        grid("head", "macs")[0],
        np.array(sizes, float),
        *(grid(part, "ms_per_sample") for part in PARTS),
        int(batch_size),
    )
