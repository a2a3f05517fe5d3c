"""Runtimes compared: each pair of backend and precision, timed in turns in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from early_exit.inference.engine import Engine
from early_exit.inference.processor import is_emulated
from early_exit.inference.runner import EarlyExitRunner, run_policy
from early_exit.inference.stopwatch import milliseconds
from early_exit.inference.timing import full_network, spread_batches, time_segments
from early_exit.networks import MultiExitNetwork
from early_exit.policy.policy import Policy
from early_exit.structures.tree import Structure, samples

ROUNDS = 5
# Batches that each size is timed on; thousands of small ones add nothing to a mean.
FEWEST_BATCHES, MOST_BATCHES = 8, 2000
# Batches that the ideal is timed on.
MOST_TIMED = 256
# As the published experiment runs its network: batches of 256.
PUBLISHED_BATCH, PUBLISHED_BATCHES = 256, 2
# Batch size for the accuracy, which hardly depends on it.
BATCH = 128
COLUMNS = [
    *("backend", "precision", "batch_size", "accuracy", "accuracy_fp32_policy"),
    *(
        "accuracy_same_macs",
        "ms_full",
        "ms_policy",
        "ms_ideal",
        "speedup",
        "speedup_published",
        "memory_mb",
        "file_mb",
        "emulated",
    ),
]


@dataclass(frozen=True)
class Runtime:
    """A backend and precision with the network as it runs it.

    Attributes
    ----------
    backend, precision
        The pair.
    engine, network
        The engine, and the network made ready by it.
    policy
        Thresholds found on calibration records that this pair made.
    same_macs
        Likewise, as accurate as possible within the mean MACs of the policy found for torch in
        fp32; ``None`` if the method takes no budget.
    memory_mb
        Growth of the process's resident memory by loading the network and running it.
    file_mb
        Size of its files.
    """

    backend: str
    precision: str
    engine: Engine
    network: MultiExitNetwork
    policy: Policy
    same_macs: Policy | None
    memory_mb: float
    file_mb: float


def runtimes_table(
    runtimes: Sequence[Runtime],
    published: tuple[Engine, MultiExitNetwork],
    fp32_policy: Policy,
    inputs: Structure,
    labels: np.ndarray,
    batch_sizes: Sequence[int],
    count: int,
    regroup: bool,
) -> pd.DataFrame:
    """Accuracy and times of each runtime, a row for each batch size.

    All ways of a batch size take turns on the same samples, in rotating order; medians count.

    Parameters
    ----------
    published
        An engine, and a network that it runs as published: every stage and head, in batches of 256.
    fp32_policy
        The policy found for torch in fp32.
    inputs, labels
        The test split.
    count
        Samples that each batch size is timed on, in at most 2,000 batches.
    regroup
        Whether remaining samples are regrouped.

    Returns
    -------
    pandas.DataFrame
        ``COLUMNS``: ``accuracy`` of the runtime's own policy, ``accuracy_fp32_policy`` of that of
        torch in fp32, ``accuracy_same_macs`` of the own one within the same MACs; milliseconds per
        sample of the full network, of the own policy, and of that without overhead (``ms_ideal``);
        ``speedup`` over the full network in the same runtime, and ``speedup_published`` over the
        published network; whether the precision is ``emulated``.
    """
    accuracies = [
        [_accuracy(one, own, inputs, labels) for own in (one.policy, fp32_policy, one.same_macs)]
        for one in runtimes
    ]
    rows = []
    turns = tqdm(total=ROUNDS * len(batch_sizes), desc="runtimes", unit="turn", disable=None)
    for size in batch_sizes:
        most = min(MOST_BATCHES, max(FEWEST_BATCHES, count // size))
        plain, times = _times(runtimes, published, inputs, size, most, regroup, turns)
        for one, own, (full, policy, ideal) in zip(runtimes, accuracies, times, strict=True):
            pair = one.backend, one.precision, size
            ratios = full / policy, plain / policy
            sizes = one.memory_mb, one.file_mb, is_emulated(one.precision)
            rows.append((*pair, *own, full, policy, ideal, *ratios, *sizes))
    turns.close()
    return pd.DataFrame(rows, columns=COLUMNS)


def _accuracy(one: Runtime, policy: Policy | None, inputs: Structure, labels: np.ndarray) -> float:
    if policy is None:
        return np.nan
    run = run_policy(one.network, policy, inputs, BATCH, one.engine)
    return float((run.prediction == labels).mean())


def _times(
    runtimes: Sequence[Runtime],
    published: tuple[Engine, MultiExitNetwork],
    inputs: Structure,
    size: int,
    most: int,
    regroup: bool,
    turns: tqdm,
) -> tuple[float, list[tuple[float, float, float]]]:
    """Milliseconds per sample of the published network; and full, policy and ideal of each."""
    engine, network = published
    plain = spread_batches(inputs, PUBLISHED_BATCH, PUBLISHED_BATCHES, engine)
    ways: list[Callable[[], Any]] = [lambda: [network(batch) for batch in plain]]
    runners = []
    for one in runtimes:
        batches = spread_batches(inputs, size, most, one.engine)
        held = one.engine.regroup_size(size) if regroup else None
        runners.append((EarlyExitRunner(one.network, one.policy, one.engine, held), batches))
        ways += _ways(one, *runners[-1])
    found = np.zeros((ROUNDS, len(ways)), dtype=object)
    with torch.inference_mode():
        for way in ways:
            way()
        for turn in range(ROUNDS):
            for number in np.roll(np.arange(len(ways)), turn):
                found[turn, number] = _taken(ways[number], engine)
            turns.update()
        ms = float(np.median(found[:, 0].astype(float))) / sum(map(samples, plain))
        per_runtime = [
            _summarised(found[:, 1 + 3 * number : 4 + 3 * number], *own)
            for number, own in enumerate(runners)
        ]
    return ms, per_runtime


def _ways(one: Runtime, runner: EarlyExitRunner, batches: list[Structure]) -> list[Callable]:
    """The full network, the policy, and the parts, each on all batches."""
    full = full_network(one.network)

    # Some of many batches are enough for a mean.
    some = batches[:: max(1, len(batches) // MOST_TIMED)]

    def parts() -> np.ndarray:
        return time_segments(runner, some, one.engine) * (len(batches) / len(some))

    return [lambda: full(batches), lambda: runner.run(batches), parts]


def _taken(way: Callable[[], Any], engine: Engine) -> Any:
    """Milliseconds of a way; of one that times its parts, what it returns."""
    kept: list[Any] = []
    ms = milliseconds(lambda: kept.append(way()), engine=engine)
    return kept[0] if isinstance(kept[0], np.ndarray) else ms


def _summarised(
    found: np.ndarray, runner: EarlyExitRunner, batches: list[Structure]
) -> tuple[float, float, float]:
    """Medians of the full network, the policy and its ideal, per sample."""
    exits = runner.run(batches)[1].cpu().numpy()
    full, policy = (float(np.median(found[:, way].astype(float))) for way in (0, 1))
    parts = np.median(np.stack(list(found[:, 2])), axis=0)
    ideal = float(np.array([(exits >= k).mean() for k in range(len(parts))]) @ parts)
    return full / len(exits), policy / len(exits), ideal / len(exits)
