"""Latency of single samples: percentiles of the time that each takes on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from early_exit.inference.engine import Engine
from early_exit.inference.runner import EarlyExitRunner
from early_exit.inference.stopwatch import milliseconds, until_steady
from early_exit.inference.timing import Way, full_network, spread_batches, spread_starts
from early_exit.networks import MultiExitNetwork
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import feasible, policy_of, simulate
from early_exit.records.table import Records
from early_exit.statistics.pareto import front
from early_exit.structures.tree import Structure

CHOSEN, FULL, OTHER = "chosen policy", "full network", "policy"
PERCENTILES = (50, 95, 99)
ROUNDS = 3
# Samples on which every way warms up.
WARM = 10
# Of the table of operating points.
KEPT = ("method", "target_kind", "target", "measure", "accuracy", "macs")


def handful(points: pd.DataFrame, most: int) -> pd.DataFrame:
    """Rows of the chosen policy, at most ``most`` other policies, and the full network.

    The others are on the Pareto front of the calibration split, evenly spread along it.

    Parameters
    ----------
    points
        From :func:`early_exit.analysis.evaluation.points_on_test`.

    Returns
    -------
    pandas.DataFrame
        The rows in the order of their cost, with a column ``kind``.
    """
    known = feasible(points)
    full, chosen = known[known.method == "full_network"], known[known.chosen]
    same = [name for name in known if name.startswith("threshold_")] + ["measure", "exit_rule"]
    others = known.drop([*full.index, *chosen.index])
    # Of equal policies, as several targets may give, one; and not the chosen one again.
    others = others[~others[same].apply(tuple, axis=1).isin(chosen[same].apply(tuple, axis=1))]
    accuracy, cost = (others[f"calibration_{name}"].to_numpy() for name in ("accuracy", "cost"))
    on_front = others.iloc[front(accuracy, cost)] if len(others) else others
    places = np.linspace(0, len(on_front) - 1, min(most, len(on_front))).round().astype(int)
    parts = ((CHOSEN, chosen), (OTHER, on_front.iloc[places]), (FULL, full))
    found = pd.concat([part.assign(kind=kind) for kind, part in parts])
    return found.sort_values("calibration_cost", kind="stable").reset_index(drop=True)


def latency_table(
    network: MultiExitNetwork,
    points: pd.DataFrame,
    criteria: Sequence[ExitCriterion],
    records: Records,
    inputs: Structure,
    costs: CostModel,
    samples: int,
    engine: Engine,
) -> pd.DataFrame:
    """Latency of single samples under policies and in the full network, all timed in turns.

    A sample runs alone, in a batch of 1, from the prepared input to the prediction. Every sample
    goes through all ways before the next one does, and the way that begins changes, so that slow
    moments of the machine affect all of them.

    Parameters
    ----------
    points
        From :func:`handful`.
    criteria
        Exit criteria of the policies, one for each measure.
    records, inputs
        Of the test split, in the same order.
    costs
        Costs, for the predictions; timed with batches of one sample.
    samples
        Number of samples, spread evenly over the inputs.

    Returns
    -------
    pandas.DataFrame
        A row for each of ``points``: ``kind`` (chosen policy, policy, full network), what
        calibration asked for (``method``, ``target_kind``, ``target``, ``measure``), ``accuracy``
        and ``macs`` on the test split, the share of timed samples that exits ``early``; the latency
        ``p50_ms``, ``p95_ms`` and ``p99_ms``, each the median over the ``rounds`` with its
        quartiles (``p50_ms_low``, ``p50_ms_high``); the ``mean_ms``, likewise, and
        ``predicted_ms``, what the costs predict for it, empty if they have no batches of one; and
        the number of ``samples``.
    """
    singles = spread_batches(inputs, 1, samples, engine)
    timed = records.select(np.array(spread_starts(len(records), 1, samples)))
    ways = [_way(network, row, criteria, engine) for _, row in points.iterrows()]
    rounds = time_singles(ways, singles, engine)
    single = replace(costs, batch_size=1, regroup=0)
    found = [simulate(policy_of(row, criteria), timed, single) for _, row in points.iterrows()]
    known = 1 in costs.batch_sizes
    return points[["kind", *KEPT]].assign(
        early=[1 - point.exit_shares[-1] for point in found],
        **columns(rounds),
        predicted_ms=[point.ms if known else np.nan for point in found],
        rounds=len(rounds),
        samples=len(singles),
    )


def _way(
    network: MultiExitNetwork, row: pd.Series, criteria: Sequence[ExitCriterion], engine: Engine
) -> Way:
    if row.kind == FULL:
        return full_network(engine.ready(network))
    return EarlyExitRunner(network, policy_of(row, criteria), engine).run


def time_singles(ways: Sequence[Way], singles: list[Any], engine: Engine) -> np.ndarray:
    """Each way's milliseconds in each round, shape (R, W, P + 1): percentiles, and the mean."""
    for way in ways:
        for single in singles[:WARM]:
            way([single])

    def measure(turn: int) -> np.ndarray:
        times = np.zeros((len(ways), len(singles)))
        for place, single in enumerate(singles):
            for number in np.roll(np.arange(len(ways)), place + turn):
                times[number, place] = milliseconds(ways[number], [single], engine=engine)
        return np.column_stack([np.percentile(times, PERCENTILES, axis=1).T, times.mean(axis=1)])

    return until_steady(measure, ROUNDS)


def columns(rounds: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of times of :func:`time_singles`: medians over the rounds, and their quartiles."""
    low, median, high = np.quantile(rounds, [0.25, 0.5, 0.75], axis=0)
    found = {}
    for place, name in enumerate([*(f"p{number}_ms" for number in PERCENTILES), "mean_ms"]):
        own = {"": median, "_low": low, "_high": high}
        found |= {f"{name}{end}": part[:, place] for end, part in own.items()}
    return found
