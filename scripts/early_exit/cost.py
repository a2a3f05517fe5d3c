"""Pricing a network: multiply-accumulates and measured time of each stage and each head."""

from __future__ import annotations

import statistics

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from early_exit.networks import MultiExitNetwork
from early_exit.pictures import for_inference, scaled
from early_exit.stopwatch import milliseconds


def price(
    network: MultiExitNetwork, shape: list[int], batch_size: int, repeats: int
) -> pd.DataFrame:
    """MACs and milliseconds a sample of each stage and head.

    The repeats are interleaved, each part once a round, so that a slow moment of the machine does
    not fall on one part; the first round warms up and is not counted.

    Parameters
    ----------
    network
        K stages and K heads.
    shape
        Channels, height and width of a picture.
    batch_size, repeats
        Samples in a timed batch, and how often each part is timed.

    Returns
    -------
    pandas.DataFrame
        2K rows: ``part`` (stage or head), ``exit`` (from 1), ``macs``, ``ms_per_sample`` (the
        median of the repeats), ``ms_low`` and ``ms_high`` (their quartiles).
    """
    parts = _parts(for_inference(network), _random_batch(shape, batch_size))
    times = _timed_rounds(parts, repeats)
    rows = []
    for (part, number, module, batch), spent in zip(parts, times, strict=True):
        low, median, high = statistics.quantiles([t / batch_size for t in spent], n=4)
        rows.append((part, number, macs(module, batch[:1]), median, low, high))
    names = ["part", "exit", "macs", "ms_per_sample", "ms_low", "ms_high"]
    return pd.DataFrame(rows, columns=names)


@torch.inference_mode()
def _timed_rounds(parts: list[tuple], repeats: int) -> list[tuple[float, ...]]:
    """Milliseconds of each part in each round but the first."""
    rounds = [
        [milliseconds(module, batch) for *_, module, batch in parts] for _ in range(repeats + 1)
    ]
    return list(zip(*rounds[1:], strict=True))


@torch.inference_mode()
def macs(module: nn.Module, batch: torch.Tensor) -> int:
    """Multiply-accumulates of ``module`` on ``batch``: convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        module(batch)
    # The counter counts a multiplication and an addition as two.
    return counter.get_total_flops() // 2


def _random_batch(shape: list[int], batch_size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return scaled(
        torch.randint(0, 256, (batch_size, *shape), generator=generator, dtype=torch.uint8)
    )


@torch.inference_mode()
def _parts(network: MultiExitNetwork, batch: torch.Tensor) -> list[tuple]:
    parts = []
    for number, (stage, head) in enumerate(zip(network.stages, network.heads, strict=True), 1):
        parts.append(("stage", number, stage, batch))
        batch = stage(batch)
        parts.append(("head", number, head, batch))
    return parts
