"""Timing a policy against the whole network, and against its ideal, on the same pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from early_exit.engine import Engine
from early_exit.inference import EarlyExitRunner
from early_exit.networks import MultiExitNetwork
from early_exit.policy import Policy
from early_exit.stopwatch import in_turns, milliseconds

# How often each way is timed.
ROUNDS = 3
# A way to run a list of batches.
Way = Callable[[list[torch.Tensor]], Any]


@dataclass(frozen=True)
class Timing:
    """Measured milliseconds a sample.

    Attributes
    ----------
    static
        The whole network, its last head only.
    all_heads
        The whole network with every head.
    policy
        The network under the policy, samples leaving the batch.
    ideal
        The stages and heads under the policy, each paid by the samples that reach it, in full
        batches and with no overhead.
    """

    static: float
    all_heads: float
    policy: float
    ideal: float


def time_policy(
    network: MultiExitNetwork,
    policy: Policy,
    images: torch.Tensor,
    batch_size: int,
    most_batches: int,
    engine: Engine,
    regroup: int | None = None,
    rounds: int = ROUNDS,
) -> Timing:
    """Time the four on the same batches, spread evenly over ``images``.

    They take turns, ``rounds`` times, another going first each time, after each has run two batches
    to warm up. The median over the rounds leaves out the machine's slow moments; over the batches
    it is the mean, since a policy's time differs from batch to batch by nature.

    Parameters
    ----------
    images
        Pictures (N, channels, height, width), uint8.
    most_batches
        How many batches are timed.
    regroup
        As :class:`~early_exit.inference.EarlyExitRunner` has it.
    """
    batches = spread_batches(images, batch_size, most_batches, engine)
    runner = EarlyExitRunner(network, policy, engine, regroup)
    ways = [whole_network(network), _every_head(network), runner.run]
    for way in ways:
        way(batches[:2])
    times, parts = np.zeros((rounds, 3)), np.zeros((rounds, 2, policy.exits))
    for turn in range(rounds):
        for number in np.roll(np.arange(3), turn):
            times[turn, number] = milliseconds(ways[number], batches, engine=engine)
        parts[turn] = sum(_time_parts(network, batch, engine) for batch in batches)
    exits = runner.run(batches)[1].cpu().numpy()
    samples = len(exits)
    static, all_heads, early = np.median(times, axis=0) / samples
    stage, head = np.median(parts, axis=0) / samples
    reach = np.array([(exits >= k).mean() for k in range(policy.exits)])
    ideal = reach @ (stage + head * np.array(policy.heads_run))
    return Timing(float(static), float(all_heads), float(early), float(ideal))


def spread_batches(
    images: torch.Tensor, size: int, most: int, engine: Engine
) -> list[torch.Tensor]:
    """At most ``most`` full batches, spread evenly over ``images`` (uint8), scaled."""
    starts = spread_starts(len(images), size, most)
    return [engine.pictures(images[start : start + size]) for start in starts]


def spread_starts(samples: int, size: int, most: int) -> list[int]:
    """Where at most ``most`` full batches of ``size`` begin, from the first sample to the last.

    One batch at least, shorter where there are fewer samples; none has a sample of another.
    """
    count = max(1, min(most, samples // size))
    return np.linspace(0, max(0, samples - size), count).round().astype(int).tolist()


def time_ways(
    ways: Sequence[Way], batches: list[torch.Tensor], rounds: int, engine: Engine
) -> np.ndarray:
    """Milliseconds a sample of each way of running ``batches``, in turns, after a warm-up."""
    for way in ways:
        way(batches[:2])
    runs = [partial(way, batches) for way in ways]
    return in_turns(runs, rounds, engine) / sum(map(len, batches))


def whole_network(network: MultiExitNetwork) -> Way:
    """Batch by batch, with the last head alone."""

    @torch.inference_mode()
    def static(batches: list[torch.Tensor]) -> None:
        for features in batches:
            for stage in network.stages:
                features = stage(features)
            network.heads[-1](features).argmax(dim=1)

    return static


def _every_head(network: MultiExitNetwork) -> Way:
    """Batch by batch, with every head."""

    @torch.inference_mode()
    def all_heads(batches: list[torch.Tensor]) -> None:
        for batch in batches:
            network(batch)

    return all_heads


@torch.inference_mode()
def _time_parts(network: MultiExitNetwork, batch: torch.Tensor, engine: Engine) -> np.ndarray:
    """Milliseconds of each stage and each head on a full batch, shape (2, K)."""
    stages, heads = [], []
    features = batch
    for stage, head in zip(network.stages, network.heads, strict=True):
        stages.append(milliseconds(stage, features, engine=engine))
        features = stage(features)
        heads.append(milliseconds(head, features, engine=engine))
    return np.array([stages, heads])
