"""Timing the whole network and a policy against each other, on the same pictures."""

from __future__ import annotations

import torch

from early_exit.inference import EarlyExitRunner
from early_exit.networks import MultiExitNetwork
from early_exit.pictures import scaled
from early_exit.policy import Policy, whole_network
from early_exit.stopwatch import milliseconds


def time_against_whole(
    network: MultiExitNetwork,
    policy: Policy,
    images: torch.Tensor,
    batch_size: int,
    most_batches: int,
) -> tuple[float, float]:
    """Measured milliseconds a sample of the whole network and of a policy, on the same pictures.

    The two take turns, batch by batch, each going first every other time; the batches are spread
    evenly over ``images``. The whole network runs its last head only.

    Returns
    -------
    tuple of float
        Whole network, policy.
    """
    whole = EarlyExitRunner(network, whole_network(policy.measure, policy.rule, policy.exits))
    early = EarlyExitRunner(network, policy)
    starts = range(0, len(images), batch_size)
    starts = starts[:: max(1, len(starts) // most_batches)]
    spent = {whole: 0.0, early: 0.0}
    samples = 0
    for turn, start in enumerate([starts[0], *starts]):
        batch = scaled(images[start : start + batch_size])
        for runner in (whole, early) if turn % 2 else (early, whole):
            duration = milliseconds(runner, batch)
            # The first turn warms up.
            spent[runner] += duration if turn else 0.0
        samples += len(batch) if turn else 0
    return spent[whole] / samples, spent[early] / samples
