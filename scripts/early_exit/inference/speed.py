"""Speed of a policy against the full network at each batch size, and check of predicted times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from early_exit.inference.engine import Engine
from early_exit.inference.runner import EarlyExitRunner, run_policy
from early_exit.inference.stopwatch import in_turns
from early_exit.inference.timing import spread_starts, time_policy, time_ways
from early_exit.networks import MultiExitNetwork
from early_exit.policy.costs import CostModel, break_even
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import simulate
from early_exit.policy.outcomes import Outcomes
from early_exit.policy.policy import Policy, uniform
from early_exit.records.table import Records
from early_exit.structures.tree import Structure
from early_exit.structures.tree import rows as rows_of
from early_exit.structures.tree import samples as count_of

PUBLISHED_BATCH = 256
PUBLISHED_SAMPLES = 10_000
FEWEST_BATCHES = 8
# Batch size for the accuracy, which hardly depends on it.
BATCH = 128
ROUNDS = 5


def speed_table(
    networks: dict[str, MultiExitNetwork],
    policy: Policy,
    inputs: Structure,
    labels: np.ndarray,
    costs: CostModel,
    batch_sizes: list[int],
    samples: int,
    engine: Engine,
    check: Callable[[Outcomes, Engine, int], Any],
    regroup: bool = True,
) -> pd.DataFrame:
    """Measured times of a policy and of the full network, by precision and batch size.

    Parameters
    ----------
    networks
        One copy of the network for each precision.
    inputs, labels
        The test split.
    costs
        The costs, for the break-even share of their own precision.
    samples
        Samples that each batch size is timed on.
    engine
        Device, precision of ``costs`` and memory format.
    check
        Raises if a run (outcomes, engine, batch size) disagrees with the records.
    regroup
        Whether remaining samples are regrouped.

    Returns
    -------
    pandas.DataFrame
        ``precision``, ``batch_size``; milliseconds per image of the ``full_network`` without and
        with ``all_heads``, under the policy (``dynamic``) and ideally (``ideal``); ``overhead``
        (dynamic over ideal), ``speedup`` (full network over dynamic) with its quartiles over the
        rounds (``speedup_low``, ``speedup_high``), measured ``accuracy``, and ``break_even``, the
        share of samples exiting early above which the policy is faster.
    """
    rows = []
    for precision, network in networks.items():
        own = replace(engine, precision=precision)
        run = run_policy(network, policy, inputs, BATCH, own)
        check(run, own, BATCH)
        accuracy = float((run.prediction == labels).mean())
        shares = np.bincount(run.exit, minlength=policy.exits) / len(labels)
        for size in tqdm(batch_sizes, desc=f"speed, {precision}", disable=None):
            batches = max(FEWEST_BATCHES, samples // size)
            held = own.regroup_size(size) if regroup else None
            times = time_policy(network, policy, inputs, size, batches, own, held, ROUNDS)
            found, (low, high) = times.medians, times.quartiles["speedup"]
            same = precision == engine.precision
            # The measured costs, with the regrouping that was timed.
            own_costs = replace(costs, regroup=held or 0)
            rows.append(
                {
                    "precision": precision,
                    "batch_size": size,
                    "full_network": found["full_network"],
                    "all_heads": found["all_heads"],
                    "dynamic": found["policy"],
                    "ideal": found["ideal"],
                    "overhead": found["policy"] / found["ideal"],
                    "speedup": found["full_network"] / found["policy"],
                    "speedup_low": low,
                    "speedup_high": high,
                    "accuracy": accuracy,
                    "break_even": break_even(own_costs, policy.heads_run, shares, size)
                    if same
                    else None,
                }
            )
    return pd.DataFrame(rows)


@torch.inference_mode()
def time_as_published(
    plain: MultiExitNetwork,
    network: MultiExitNetwork,
    policy: Policy,
    inputs: Structure,
    batch_size: int,
    engine: Engine,
    regroup: bool = True,
) -> tuple[float, float]:
    """Milliseconds per image of the network run as published, and of the policy, timed in turns.

    As published: in fp32, contiguous, in batches of 256, every stage and every head; on the
    engine's device.
    """
    as_published = _as_published(engine)
    plain = as_published.ready(plain)
    held = engine.regroup_size(batch_size) if regroup else None
    runner = EarlyExitRunner(network, policy, engine, held)
    inputs = rows_of(inputs, slice(0, PUBLISHED_SAMPLES))
    count = count_of(inputs)

    def batches(own: Engine, size: int) -> Iterator[Structure]:
        return (own.prepare(rows_of(inputs, slice(s, s + size))) for s in range(0, count, size))

    def run_plain() -> None:
        for batch in batches(as_published, PUBLISHED_BATCH):
            plain(batch)

    def run_ours() -> None:
        runner.run(batches(engine, batch_size))

    ways = [run_plain, run_ours]
    for way in ways:
        way()
    published, ours = in_turns(ways, ROUNDS, engine) / count
    return float(published), float(ours)


def _as_published(engine: Engine) -> Engine:
    """Under torch, whatever the engine's backend is."""
    scaled = {"mean": engine.mean, "std": engine.std, "images": engine.images}
    return Engine(engine.device, "fp32", "contiguous", **scaled)


def policies_across(records: Records, criterion: ExitCriterion, count: int) -> list[Policy]:
    """Uniform policies from hardly any to nearly all samples exiting early."""
    uncertainty = criterion.uncertainty(records)[:, :-1].astype(np.float64)
    levels = np.quantile(uncertainty, np.linspace(0.02, 0.98, count))
    return [uniform(criterion, threshold, records.exits) for threshold in levels]


def predicted_against_measured(
    network: MultiExitNetwork,
    policies: list[Policy],
    records: Records,
    inputs: Structure,
    costs: CostModel,
    samples: int,
    engine: Engine,
) -> pd.DataFrame:
    """Predicted and measured milliseconds of each policy, timed in turns on the same images.

    Parameters
    ----------
    records, inputs
        Of the same split, in the same order.
    samples
        Number of samples timed, in full batches spread evenly.

    Returns
    -------
    pandas.DataFrame
        ``threshold``, ``accuracy``, ``early`` (share exiting early), ``predicted``, ``measured``
        and ``error`` (predicted over measured, minus 1).
    """
    size = costs.batch_size
    held = costs.regroup or None
    runners = [EarlyExitRunner(network, policy, engine, held) for policy in policies]
    starts = spread_starts(count_of(inputs), size, samples // size)
    batches = [engine.prepare(rows_of(inputs, slice(s, s + size))) for s in starts]
    measured = time_ways([runner.run for runner in runners], batches, ROUNDS, engine)
    rows = np.concatenate([np.arange(len(records))[s : s + size] for s in starts])
    timed = records.select(rows)
    points = [simulate(policy, timed, costs) for policy in policies]
    predicted = np.array([point.ms for point in points])
    return pd.DataFrame(
        {
            "threshold": [policy.thresholds[0] for policy in policies],
            "accuracy": [point.accuracy for point in points],
            "early": [1.0 - point.exit_shares[-1] for point in points],
            "predicted": predicted,
            "measured": measured,
            "error": predicted / measured - 1.0,
        }
    )
