"""Cost model: the cost of a sample by its exit, from the costs of backbone stages and exit heads.

Stages and heads are kept apart, since a head at which no sample can exit is not run. Times are kept
for several batch sizes, since batches shrink as samples exit, and small batches cost more a sample.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from early_exit.errors import AGAIN, InputError
from early_exit.io.files import read_table

COLUMNS = ["part", "exit", "batch_size", "macs", "ms_per_sample"]
PARTS = ("stage", "head", "overhead")
# For each of K exits, whether its head runs.
Mask = np.ndarray | Sequence[bool]


@dataclass(frozen=True)
class CostModel:
    """Costs of the K stages and K heads, times for B batch sizes.

    Attributes
    ----------
    stage_macs, head_macs
        Shape (K,), multiply-accumulates for one sample.
    batch_sizes
        Shape (B,), ascending.
    stage_ms, head_ms, overhead_ms
        Shape (B, K), measured milliseconds for one sample; the overhead is the uncertainty, the
        decision, and removing samples from the batch.
    batch_size
        Batch size with which the network is run.
    regroup
        Number of remaining samples that are batched again before a stage; 0 lets batches shrink.
    plain
        Of :meth:`with_all_heads`, the costs that it was made of, in which the full network counts.

    Notes
    -----
    Costs of external records may be in one unit only. Those in the other are NaN: empty in tables,
    null in JSON.
    """

    stage_macs: np.ndarray
    head_macs: np.ndarray
    batch_sizes: np.ndarray
    stage_ms: np.ndarray
    head_ms: np.ndarray
    overhead_ms: np.ndarray
    batch_size: int
    regroup: int = 0
    plain: CostModel | None = None

    @property
    def exits(self) -> int:
        """K, the number of exits."""
        return len(self.stage_macs)

    @property
    def unit(self) -> str:
        """Unit of shares of the full network's cost: ``macs``, or ``ms`` if there are no MACs."""
        return "macs" if self.knows("macs") else "ms"

    def weighed_in(self, asked: str) -> str:
        """The unit for a setting ``calibration.cost``: ``macs`` is time if there are no MACs."""
        return self.unit if asked == "macs" else asked

    def knows(self, unit: str) -> bool:
        """Whether there are costs in ``macs`` or ``ms``."""
        return bool(np.isfinite(self.stage_macs if unit == "macs" else self.stage_ms).all())

    def macs(self, heads_run: Mask) -> np.ndarray:
        """MACs of a sample that exits at each exit, shape (K,).

        Parameters
        ----------
        heads_run
            Shape (K,), whether each exit's head runs, as ``Policy.heads_run``.
        """
        return np.cumsum(self.stage_macs + self.head_macs * self._checked(heads_run))

    def ms(self, heads_run: Mask) -> np.ndarray:
        """Milliseconds of a sample that exits at each exit, in full batches, shape (K,)."""
        return np.cumsum(self._ms_added(heads_run, np.full(self.exits, self.batch_size)))

    def predicted_ms(self, heads_run: Mask, exit_shares: np.ndarray) -> np.ndarray:
        """Mean milliseconds of a sample, in batches that shrink as samples exit.

        Parameters
        ----------
        heads_run
            Shape (K,), whether each exit's head runs.
        exit_shares
            Shape (..., K), shares of samples that exit at each exit.

        Returns
        -------
        numpy.ndarray
            Shape (...).
        """
        shares = np.asarray(exit_shares)
        # All samples that have not exited before reach exit k. Clipped against rounding.
        reach = np.clip(1.0 - np.cumsum(shares, axis=-1) + shares, 0.0, 1.0)
        return (reach * self._ms_added(heads_run, self.sizes(reach))).sum(axis=-1)

    def sizes(self, reach: np.ndarray) -> np.ndarray:
        """Sizes of batches that a share ``reach`` of samples gets to; small ones are regrouped."""
        return np.maximum(self.batch_size * reach, min(self.regroup, self.batch_size))

    def ideal_ms(self, heads_run: Mask, exit_shares: np.ndarray) -> float:
        """Mean milliseconds of a sample in full batches at every exit, without overhead.

        Parameters
        ----------
        heads_run
            Shape (K,), whether each exit's head runs.
        exit_shares
            Shape (K,), shares of samples that exit at each exit.
        """
        shares = np.asarray(exit_shares)
        reach = np.clip(1.0 - np.cumsum(shares) + shares, 0.0, 1.0)
        ms = self.stage_ms + self._checked(heads_run) * self.head_ms
        return float(reach @ self._at_sizes(ms, np.full(self.exits, self.batch_size)))

    def all_heads_ms(self) -> float:
        """Milliseconds of a sample in all stages and all heads, in full batches, no overhead."""
        return self.ideal_ms(np.full(self.exits, True), np.eye(self.exits)[-1])

    def with_all_heads(self) -> CostModel:
        """The costs where the heads of all exits passed run: each is a part of its stage.

        The cost of the full network, which runs no early head, stays what it is.
        """

        early = np.arange(self.exits) < self.exits - 1
        return replace(
            self,
            stage_macs=self.stage_macs + early * self.head_macs,
            head_macs=~early * self.head_macs,
            stage_ms=self.stage_ms + early * (self.head_ms + self.overhead_ms),
            head_ms=~early * self.head_ms,
            overhead_ms=~early * self.overhead_ms,
            plain=self,
        )

    def in_unit(self, unit: str) -> UnitCosts:
        """Costs for finding thresholds, in one unit: MACs, or milliseconds in full batches.

        Raises
        ------
        InputError
            If there are no costs in that unit.
        """
        if not self.knows(unit):
            raise InputError(
                f"costs: only in {self.unit}, but {unit} is needed (calibration.cost,"
                " calibration.targets, study.targets)",
                f"use {self.unit} there, or add a column {unit} to the cost table (records.costs)",
            )
        if unit == "macs":
            return UnitCosts(self, unit, self.stage_macs, self.head_macs)
        full = np.full(self.exits, self.batch_size)
        stage = self._at_sizes(self.stage_ms, full)
        return UnitCosts(self, unit, stage, self._at_sizes(self.head_ms + self.overhead_ms, full))

    def _at_sizes(self, table: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Each exit's column of ``table`` (B, K), interpolated between measured batch sizes."""
        columns = [
            interpolated(table[:, k], self.batch_sizes, sizes[..., k]) for k in range(self.exits)
        ]
        return np.stack(columns, axis=-1)

    def _ms_added(self, heads_run: Mask, sizes: np.ndarray) -> np.ndarray:
        """Milliseconds of a sample in each stage and head, in batches of ``sizes`` (..., K)."""
        heads = self._checked(heads_run)
        return self._at_sizes(self.stage_ms + heads * (self.head_ms + self.overhead_ms), sizes)

    def _checked(self, heads_run: Mask) -> np.ndarray:
        """The mask as an array (K,)."""
        if len(heads_run) != self.exits:
            raise InputError(
                f"policy: made for {len(heads_run)} exits, but the costs are for {self.exits}"
            )
        return np.asarray(heads_run, bool)


def interpolated(times: np.ndarray, batch_sizes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Times at ``sizes``, from those (B,) of measured batch sizes, by the logarithm of the size."""
    return np.interp(np.log(np.maximum(sizes, 1.0)), np.log(batch_sizes), times)


@dataclass(frozen=True)
class UnitCosts:
    """Costs of the K stages and heads in one unit, for finding thresholds.

    Attributes
    ----------
    model
        The cost model of these costs.
    unit
        ``macs`` or ``ms``.
    stage, head
        Shape (K,). Milliseconds are those in full batches; the overhead counts with the head.
    """

    model: CostModel
    unit: str
    stage: np.ndarray
    head: np.ndarray

    @property
    def full_network(self) -> float:
        """Cost of a sample in the full network: all stages and the final head."""
        if self.model.plain is not None:
            return self.model.plain.in_unit(self.unit).full_network
        return float(self.stage.sum() + self.head[-1])

    def per_exit(self, thresholds: np.ndarray) -> np.ndarray:
        """Cost of a sample that exits at each exit, shape (K,).

        Parameters
        ----------
        thresholds
            Shape (K-1,), in turned units (lower exits); heads at minus infinity don't run.
        """
        return np.cumsum(self.stage + self.head * _heads_run(thresholds))

    def mean(self, thresholds: np.ndarray, exit_shares: np.ndarray) -> float:
        """Mean cost of a sample; times are those of :meth:`CostModel.predicted_ms`.

        Parameters
        ----------
        exit_shares
            Shape (K,), the shares of samples that exit at each exit.
        """
        if self.unit == "macs":
            return float(exit_shares @ self.per_exit(thresholds))
        return float(self.model.predicted_ms(_heads_run(thresholds), exit_shares))

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
            cost = self.model.predicted_ms(_heads_run(ordinary), exit_shares)
        # Without early exits, no early head runs.
        never = np.asarray(thresholds) == -np.inf
        last = np.eye(len(self.stage))[-1]
        return np.where(never, self.mean(np.full(len(ordinary), -np.inf), last), cost)


def _heads_run(thresholds: np.ndarray) -> np.ndarray:
    """Shape (K,), whether each head runs under thresholds (K-1,) in turned units."""
    return np.append(np.asarray(thresholds) > -np.inf, True)


def break_even(
    costs: CostModel, heads_run: Mask, exit_shares: np.ndarray, batch_size: int
) -> float | None:
    """Share of early-exiting samples from which a policy is faster than the full network.

    Parameters
    ----------
    heads_run
        Shape (K,), whether each exit's head runs under the policy.
    exit_shares
        Shape (K,), shares of samples that exit at each exit under the policy. Proportions among
        the early exits are kept.

    Returns
    -------
    float or None
        Between 0 and 1; ``None`` if the policy is slower even when all samples exit early.
    """
    costs = replace(costs, batch_size=batch_size)
    last = np.eye(costs.exits)[-1]
    early = np.where(last == 1, 0.0, exit_shares)
    if early.sum() == 0:
        return None
    early = early / early.sum()
    full_network = costs.predicted_ms(last == 1, last)
    shares = np.linspace(0.0, 1.0, 1001)
    times = costs.predicted_ms(heads_run, np.outer(shares, early) + np.outer(1 - shares, last))
    paying = np.flatnonzero(times <= full_network)
    return float(shares[paying[0]]) if len(paying) else None


def read_costs(path: str | os.PathLike, batch_size: int, regroup: int = 0) -> CostModel:
    """Read ``cost.csv``, with a row for each part, exit (from 1) and batch size.

    Parameters
    ----------
    batch_size, regroup
        As in :class:`CostModel`; from ``cost.json``.

    Raises
    ------
    InputError
        If a stage or head is missing, or a cost is not a positive number. One of the two units may
        be empty in all rows.
    """
    return costs_from_table(read_table(path, COLUMNS), str(path), batch_size, regroup)


def costs_from_table(
    table: pd.DataFrame, where: str, batch_size: int, regroup: int = 0
) -> CostModel:
    """As :func:`read_costs`, from a table in memory; messages call it ``where``."""
    exits = sorted(table.exit.unique())
    sizes = sorted(table.batch_size.unique())
    expected = pd.MultiIndex.from_product([PARTS, sizes, exits])
    cells = table.set_index(["part", "batch_size", "exit"]).sort_index()
    complete = exits == list(range(1, len(exits) + 1)) and cells.index.is_unique
    if not complete or not cells.index.sort_values().equals(expected.sort_values()):
        raise InputError(
            f"{where}: needs a stage, a head and an overhead for each exit and batch size",
            AGAIN,
        )
    known = [name for name in COLUMNS[3:] if not cells[name].isna().all()]
    numbers = cells[known].to_numpy(float)
    if not (known and np.isfinite(numbers).all() and (numbers >= 0).all()):
        raise InputError(f"{where}: a cost is not a positive number", AGAIN)

    def grid(part: str, column: str) -> np.ndarray:
        return cells.loc[part][column].to_numpy(float).reshape(len(sizes), len(exits))

    return CostModel(
        grid("stage", "macs")[0],
        grid("head", "macs")[0],
        np.array(sizes, float),
        *(grid(part, "ms_per_sample") for part in PARTS),
        int(batch_size),
        int(regroup),
    )
