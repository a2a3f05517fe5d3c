"""Checks of measured times: against their predictions, against each other, and their spread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from early_exit.policy.costs import CostModel

# The beginning of a doubt about times.
TIMES_DOUBTED = "do not trust these times"
# The largest factor between a time and its prediction, and between the quartiles of a time.
MOST = 1.5
# Less work that takes this much longer than more work, by medians; the quartiles are apart as well.
LONGER = 1.1
# A part of the network that is less of it than this changes no ratio much.
SMALL = 0.05


class Measured(NamedTuple):
    """A measured time, its quartiles over the rounds and its prediction, ms per sample."""

    name: str
    ms: float
    low: float
    high: float
    predicted: float


def doubted(summary: dict[str, Any]) -> bool:
    """Whether a summary, or an evaluation, doubts the times."""
    return TIMES_DOUBTED in (summary.get("doubt") or "")


def doubtful_times(result: dict[str, Any], costs: CostModel | None = None) -> str:
    """Warning about the times that ratios are made of; empty without doubt.

    A time is in doubt if it is :data:`MOST` times its prediction or the inverse, if its quartiles
    over the rounds are that factor apart, or if less work took longer than more work by more than
    the spread of both. So are the costs, if a larger batch took less time than a smaller one.

    Parameters
    ----------
    result
        From :func:`early_exit.analysis.evaluation.evaluate`, with measured times.
    costs
        The costs that the predictions are made from, to be checked as well.
    """
    full, all_heads, policy, ideal = times = list(_measured(result))
    # Pairs of less work and more work.
    order = [(ideal, policy), (ideal, all_heads), (full, all_heads)]
    far = [own for own in times if not 1 / MOST <= own.ms / own.predicted <= MOST]
    found = [
        f"{own.name} took {own.ms:.3g} ms per sample ({own.predicted:.3g} predicted)" for own in far
    ]
    found += [
        f"{less.name} took {less.ms:.3g} ms per sample, {more.name}, which is more work,"
        f" {more.ms:.3g} ms"
        for less, more in order
        if less.ms > LONGER * more.ms and less.low > more.high
    ]
    found += [
        f"{own.name} varied from {own.low:.3g} to {own.high:.3g} ms per sample between rounds"
        " (quartiles)"
        for own in times
        if own.high > MOST * own.low and own not in far
    ]
    found += [] if costs is None else _shrinking(costs)
    if not found:
        return ""
    return (
        f"{TIMES_DOUBTED}: {', '.join(found)}. The machine was probably busy during a"
        " measurement; when it is idle, run again with the rules measure_cost and evaluate_policy"
        " forced (-R)"
    )


def _measured(result: dict[str, Any]) -> Iterator[Measured]:
    """The times of the full network without and with all heads, the policy, and its ideal."""
    for name, part, key in (
        ("the full network", "full_network", "ms_per_sample"),
        ("the full network with all heads", "full_network", "ms_per_sample_all_heads"),
        ("the chosen policy", "selected", "ms_per_sample"),
        ("the policy without overhead", "selected", "ms_per_sample_ideal"),
    ):
        own = result[part]
        ms = own[key]
        low, high = own.get(f"{key}_quartiles") or (ms, ms)
        yield Measured(name, ms, low, high, own[f"{key}_predicted"])


def _shrinking(costs: CostModel) -> Iterator[str]:
    """Where a larger batch of a stage or head took less time than a smaller one, the worst."""
    sizes = costs.batch_sizes
    every = np.concatenate([costs.stage_ms, costs.head_ms], axis=1) * sizes[:, None]
    before, after = every[:-1], every[1:]
    wrong = (before > MOST * after) & (before - after > SMALL * before.sum(axis=1, keepdims=True))
    if not wrong.any():
        return
    row, column = np.unravel_index(np.argmax(np.where(wrong, before - after, 0)), wrong.shape)
    part = "stage" if column < costs.exits else "head"
    yield (
        f"{part} {column % costs.exits + 1} took {before[row, column]:.3g} ms for a batch of"
        f" {sizes[row]:g}, and {after[row, column]:.3g} ms for one of {sizes[row + 1]:g}"
    )
