"""The speed table: a policy against the whole network and its ideal, at each batch size.

And the check of the predictions: policies across the range, timed and predicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from early_exit.cost_model import CostModel, break_even
from early_exit.engine import Engine
from early_exit.inference import EarlyExitRunner, run_policy
from early_exit.networks import MultiExitNetwork
from early_exit.operating_point import simulate
from early_exit.policy import Policy
from early_exit.records import Records
from early_exit.stopwatch import in_turns
from early_exit.timing import spread_starts, time_policy, time_ways

# How the published experiment runs, on whatever device: every stage and head, plainly.
AS_PUBLISHED = Engine("cpu", "fp32", "contiguous")
PUBLISHED_BATCH = 256
PUBLISHED_PICTURES = 10_000
FEWEST_BATCHES = 8
ROUNDS = 5


def speed_table(
    networks: dict[str, MultiExitNetwork],
    policy: Policy,
    images: torch.Tensor,
    labels: np.ndarray,
    costs: CostModel,
    batch_sizes: list[int],
    pictures: int,
    engine: Engine,
    regroup: bool = True,
) -> pd.DataFrame:
    """A row for each precision and batch size.

    Parameters
    ----------
    networks
        The same network, one copy for each precision.
    images, labels
        The test split.
    costs
        The prices, for the break-even share; only those of their own precision fit.
    pictures
        How many of the images each batch size is timed on.
    engine
        Device, precision of ``costs`` and memory format.
    regroup
        Whether what is left of batches waits for what comes behind.

    Returns
    -------
    pandas.DataFrame
        ``precision``, ``batch_size``; milliseconds a picture of the ``static`` network without and
        with ``all_heads``, of the ``dynamic`` one and of its ``ideal``; ``overhead`` (dynamic over
        ideal), ``speedup`` (static over dynamic), ``accuracy`` of the policy, really run, and
        ``break_even``, the share of early leavers from which it pays.
    """
    rows = []
    for precision, network in networks.items():
        own = replace(engine, precision=precision)
        run = run_policy(network, policy, images, 128, own)
        accuracy = float((run.prediction == labels).mean())
        shares = np.bincount(run.exit, minlength=policy.exits) / len(labels)
        for size in tqdm(batch_sizes, desc=f"speed, {precision}", disable=None):
            batches = max(FEWEST_BATCHES, pictures // size)
            waits = own.worth_waiting_for(size) if regroup else None
            times = time_policy(network, policy, images, size, batches, own, waits, ROUNDS)
            found = asdict(times)
            same = precision == engine.precision
            # The prices as they are, but with the waiting that was timed.
            own_costs = replace(costs, regroup=waits or 0)
            rows.append(
                {
                    "precision": precision,
                    "batch_size": size,
                    "static": found["static"],
                    "all_heads": found["all_heads"],
                    "dynamic": found["policy"],
                    "ideal": found["ideal"],
                    "overhead": found["policy"] / found["ideal"],
                    "speedup": found["static"] / found["policy"],
                    "accuracy": accuracy,
                    "break_even": break_even(own_costs, policy, shares, size) if same else None,
                }
            )
    return pd.DataFrame(rows)


@torch.inference_mode()
def time_as_published(
    plain: MultiExitNetwork,
    network: MultiExitNetwork,
    policy: Policy,
    images: torch.Tensor,
    batch_size: int,
    engine: Engine,
    regroup: bool = True,
) -> tuple[float, float]:
    """Milliseconds a picture of the network run as published, and of the policy, taking turns.

    As published means in fp32, contiguous, in batches of 256, every stage and every head; on the
    engine's device, as the policy.
    """
    as_published = _as_published(engine)
    plain = as_published.ready(plain)
    waits = engine.worth_waiting_for(batch_size) if regroup else None
    runner = EarlyExitRunner(network, policy, engine, waits)
    images = images[:PUBLISHED_PICTURES]

    def batches(own: Engine, size: int) -> Iterator[torch.Tensor]:
        return (own.pictures(images[s : s + size]) for s in range(0, len(images), size))

    def run_plain() -> None:
        for batch in batches(as_published, PUBLISHED_BATCH):
            plain(batch)

    def run_ours() -> None:
        runner.run(batches(engine, batch_size))

    ways = [run_plain, run_ours]
    for way in ways:
        way()
    published, ours = in_turns(ways, ROUNDS, engine) / len(images)
    return float(published), float(ours)


def _as_published(engine: Engine) -> Engine:
    return replace(AS_PUBLISHED, device=engine.device, mean=engine.mean, std=engine.std)


def policies_across(records: Records, sees: Policy, count: int) -> list[Policy]:
    """Uniform policies from hardly anybody to nearly everybody leaving early."""
    seen = records.uncertainty(sees.measure, sees.temperatures)[:, :-1].astype(np.float64)
    levels = np.quantile(seen, np.linspace(0.02, 0.98, count))
    return [sees.at((threshold,) * (sees.exits - 1)) for threshold in levels]


def predicted_against_measured(
    network: MultiExitNetwork,
    policies: list[Policy],
    records: Records,
    images: torch.Tensor,
    costs: CostModel,
    pictures: int,
    engine: Engine,
) -> pd.DataFrame:
    """Predicted and measured milliseconds of each policy on the same pictures, taking turns.

    Parameters
    ----------
    records, images
        Of the same split, in the same order.
    pictures
        How many of them are taken, in full batches spread evenly.

    Returns
    -------
    pandas.DataFrame
        ``threshold``, ``accuracy``, ``early`` (share leaving early), ``predicted``, ``measured``
        and ``error`` (predicted over measured, less 1).
    """
    size = costs.batch_size
    waits = costs.regroup or None
    runners = [EarlyExitRunner(network, policy, engine, waits) for policy in policies]
    starts = spread_starts(len(images), size, pictures // size)
    batches = [engine.pictures(images[start : start + size]) for start in starts]
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
