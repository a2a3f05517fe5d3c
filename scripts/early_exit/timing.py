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
    exit_shares: np.ndarray,
    images: torch.Tensor,
    batch_size: int,
    most_batches: int,
    engine: Engine,
) -> Timing:
    """Time the four on the same batches, spread evenly over ``images``.

    They take turns batch by batch, another going first each time; a first batch warms up. The
    medians over the batches count.

    Parameters
    ----------
    exit_shares
        Shape (K,), the share of samples leaving at each exit under the policy.
    most_batches
        How many batches are timed.
    """
    starts = range(0, max(1, len(images) - batch_size + 1), batch_size)
    starts = starts[:: max(1, len(starts) // most_batches)][:most_batches]
    runs = _runs(network, EarlyExitRunner(network, policy, engine))
    times: dict[str, list[float]] = {name: [] for name in (*runs, "parts")}
    parts = []
    for turn, start in enumerate([starts[0], *starts]):
        batch = engine.pictures(images[start : start + batch_size])
        order = [*times][turn % 4 :] + [*times][: turn % 4]
        for name in order:
            if name == "parts":
                parts.append(_time_parts(network, batch, engine))
            else:
                times[name].append(milliseconds(runs[name], batch, engine=engine))
    samples = min(batch_size, len(images))
    median = {name: float(np.median(found[1:])) / samples for name, found in times.items() if found}
    stage, head = np.median(parts[1:], axis=0) / samples
    reach = 1.0 - np.cumsum(exit_shares) + exit_shares
    ideal = float(reach @ (stage + head * np.array(policy.heads_run)))
    return Timing(median["static"], median["all_heads"], median["policy"], ideal)


def _runs(network: MultiExitNetwork, runner: EarlyExitRunner) -> dict[str, Callable]:
    @torch.inference_mode()
    def static(batch: torch.Tensor) -> torch.Tensor:
        features = batch
        for stage in network.stages:
            features = stage(features)
        return network.heads[-1](features).argmax(dim=1)

    @torch.inference_mode()
    def all_heads(batch: torch.Tensor) -> torch.Tensor:
        return network(batch)

    return {"static": static, "all_heads": all_heads, "policy": runner}


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
