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
from early_exit.policy import ExitRule, Policy, whole_network

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
    regroup
        What is left of a batch waits until so many samples do; 0 lets batches thin out.

    Notes
    -----
    Prices that came with records may be in one unit alone. What counts in the other is NaN then:
    empty in tables, null in JSON.
    """

    stage_macs: np.ndarray
    head_macs: np.ndarray
    batch_sizes: np.ndarray
    stage_ms: np.ndarray
    head_ms: np.ndarray
    overhead_ms: np.ndarray
    batch_size: int
    regroup: int = 0

    @property
    def exits(self) -> int:
        """K, the number of exits."""
        return len(self.stage_macs)

    @property
    def unit(self) -> str:
        """What shares of the whole network are taken of: ``macs``, or ``ms`` where that is all."""
        return "macs" if self.knows("macs") else "ms"

    def weighed_in(self, asked: str) -> str:
        """The unit for ``calibration.cost``: its default, MACs, is time where that is all."""
        return self.unit if asked == "macs" else asked

    def knows(self, unit: str) -> bool:
        """Whether there are prices in ``macs`` or ``ms``."""
        return bool(np.isfinite(self.stage_macs if unit == "macs" else self.stage_ms).all())

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
        sizes = np.maximum(self.batch_size * reach, min(self.regroup, self.batch_size))
        return (reach * self._prices(policy, sizes)).sum(axis=-1)

    def prices(self, unit: str) -> Prices:
        """What thresholds are weighed by: MACs, or milliseconds in full batches.

        Raises
        ------
        InputError
            If there are no prices in that unit.
        """
        if not self.knows(unit):
            raise InputError(
                f"costs: given in {self.unit} alone, and something is asked for in {unit}"
                " (calibration.cost, calibration.targets, study.targets): ask for it in"
                f" {self.unit}, or add a column {unit} to the cost table (records.costs)"
            )
        if unit == "macs":
            return Prices(self, unit, self.stage_macs, self.head_macs)
        whole = np.full(self.exits, self.batch_size)
        stage = self._at_sizes(self.stage_ms, whole)
        return Prices(self, unit, stage, self._at_sizes(self.head_ms + self.overhead_ms, whole))

    def _at_sizes(self, table: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Each exit's column of ``table`` (B, K) between the batch sizes that were measured."""
        size = np.log(np.maximum(sizes, 1.0))
        known = np.log(self.batch_sizes)
        prices = np.empty(size.shape)
        for k in range(self.exits):
            prices[..., k] = np.interp(size[..., k], known, table[:, k])
        return prices

    def _prices(self, policy: Policy, sizes: np.ndarray) -> np.ndarray:
        """Milliseconds a sample of each stage with its head, in batches of ``sizes`` (..., K)."""
        heads = self._heads_run(policy)
        return self._at_sizes(self.stage_ms + heads * (self.head_ms + self.overhead_ms), sizes)

    def _heads_run(self, policy: Policy) -> np.ndarray:
        if policy.exits != self.exits:
            raise InputError(
                f"policy: made for {policy.exits} exits, the costs are for {self.exits}"
            )
        return np.array(policy.heads_run)


@dataclass(frozen=True)
class Prices:
    """Prices of the K stages and heads in one unit, for finding thresholds.

    Attributes
    ----------
    costs
        Where they come from.
    unit
        ``macs`` or ``ms``.
    stage, head
        Shape (K,). Milliseconds are those in full batches; the overhead counts with the head.
    """

    costs: CostModel
    unit: str
    stage: np.ndarray
    head: np.ndarray

    @property
    def whole(self) -> float:
        """What a sample costs that goes through all stages, without early heads."""
        return float(self.stage.sum() + self.head[-1])

    def per_exit(self, thresholds: np.ndarray) -> np.ndarray:
        """Cost of a sample that leaves at each exit, shape (K,).

        Parameters
        ----------
        thresholds
            Shape (K-1,), lower leaves; where it is minus infinity the head does not run.
        """
        runs = np.append(np.asarray(thresholds) > -np.inf, True)
        return np.cumsum(self.stage + self.head * runs)

    def mean(self, thresholds: np.ndarray, exit_shares: np.ndarray) -> float:
        """Mean cost of a sample; times as :meth:`CostModel.predicted_ms` has them.

        Parameters
        ----------
        exit_shares
            Shape (K,), the shares leaving at each exit.
        """
        if self.unit == "macs":
            return float(exit_shares @ self.per_exit(thresholds))
        return float(self.costs.predicted_ms(_below(thresholds), exit_shares))

    def means(self, thresholds: np.ndarray, exit_shares: np.ndarray) -> np.ndarray:
        """Mean cost of a sample under each of T uniform thresholds, shape (T,).

        Parameters
        ----------
        thresholds
            Shape (T,).
        exit_shares
            Shape (T, K).
        """
        ordinary = np.zeros(len(self.stage) - 1)
        if self.unit == "macs":
            cost = exit_shares @ self.per_exit(ordinary)
        else:
            cost = self.costs.predicted_ms(_below(ordinary), exit_shares)
        # Where nobody can leave, no head runs.
        nobody = np.asarray(thresholds) == -np.inf
        last = np.eye(len(self.stage))[-1]
        return np.where(nobody, self.mean(np.full(len(ordinary), -np.inf), last), cost)


def _below(thresholds: np.ndarray) -> Policy:
    return Policy("entropy", ExitRule.BELOW, tuple(thresholds))


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


def read_costs(path: str | os.PathLike, batch_size: int, regroup: int = 0) -> CostModel:
    """Read ``cost.csv``: a row for each part, exit (from 1) and batch size.

    Parameters
    ----------
    batch_size, regroup
        Of the batches in which the network is run, and how many wait for each other; from
        ``cost.json``.

    Raises
    ------
    InputError
        If a stage or head is missing, or a price is not a positive number. One of the two units may
        be empty throughout.
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
    known = [name for name in COLUMNS[3:] if not prices[name].isna().all()]
    numbers = prices[known].to_numpy(float)
    if not (known and np.isfinite(numbers).all() and (numbers >= 0).all()):
        raise InputError(f"{path}: a price is not a positive number; delete it and run again")

    def grid(part: str, column: str) -> np.ndarray:
        return prices.loc[part][column].to_numpy(float).reshape(len(sizes), len(exits))

    return CostModel(
        grid("stage", "macs")[0],
        grid("head", "macs")[0],
        np.array(sizes, float),
        *(grid(part, "ms_per_sample") for part in PARTS),
        int(batch_size),
        int(regroup),
    )
