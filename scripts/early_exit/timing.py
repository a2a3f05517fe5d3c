"""Timing a policy against the whole network, and against its ideal, on the same pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from early_exit.engine import Engine
from early_exit.inference import EarlyExitRunner
from early_exit.networks import MultiExitNetwork
from early_exit.policy import Policy
from early_exit.stopwatch import milliseconds

# How often each batch is timed.
ROUNDS = 3


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
) -> Timing:
    """Time the four on the same batches, spread evenly over ``images``.

    On each batch they take turns, ``ROUNDS`` times, another going first each time; a first batch
    warms up. The median over the rounds leaves out the machine's slow moments; over the batches it
    is the mean, since a policy's time differs from batch to batch by nature.

    Parameters
    ----------
    images
        Pictures (N, channels, height, width), uint8.
    most_batches
        How many batches are timed.
    """
    starts = range(0, max(1, len(images) - batch_size + 1), batch_size)
    starts = starts[:: max(1, len(starts) // most_batches)][:most_batches]
    runner = EarlyExitRunner(network, policy, engine)
    runs = _runs(network, runner)
    ways, parts = [], []
    reached = np.zeros(policy.exits)
    for start in (starts[0], *starts):
        batch = engine.pictures(images[start : start + batch_size])
        found = [_round(runs, network, batch, engine, turn) for turn in range(ROUNDS)]
        ways.append(np.median([times for times, _ in found], axis=0))
        parts.append(np.median([times for _, times in found], axis=0))
    for start in starts:
        exits = runner(engine.pictures(images[start : start + batch_size]))[1].cpu().numpy()
        reached += [(exits >= k).sum() for k in range(policy.exits)]
    samples = min(batch_size, len(images))
    static, all_heads, early = np.mean(ways[1:], axis=0) / samples
    stage, head = np.mean(parts[1:], axis=0) / samples
    reach = reached / (samples * len(starts))
    ideal = reach @ (stage + head * np.array(policy.heads_run))
    return Timing(float(static), float(all_heads), float(early), float(ideal))


def _round(
    runs: list[Callable],
    network: MultiExitNetwork,
    batch: torch.Tensor,
    engine: Engine,
    turn: int,
) -> tuple[list[float], np.ndarray]:
    """Milliseconds of each run, and of each stage and head, the runs in another order each turn."""
    times = [0.0] * len(runs)
    for number in np.roll(np.arange(len(runs)), turn):
        times[number] = milliseconds(runs[number], batch, engine=engine)
    return times, _time_parts(network, batch, engine)


def _runs(network: MultiExitNetwork, runner: EarlyExitRunner) -> list[Callable]:
    """The whole network with its last head, with every head, and the policy."""

    @torch.inference_mode()
    def static(batch: torch.Tensor) -> torch.Tensor:
        features = batch
        for stage in network.stages:
            features = stage(features)
        return network.heads[-1](features).argmax(dim=1)

    @torch.inference_mode()
    def all_heads(batch: torch.Tensor) -> torch.Tensor:
        return network(batch)

    return [static, all_heads, runner]


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
