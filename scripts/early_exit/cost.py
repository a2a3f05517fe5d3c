"""Pricing a network: multiply-accumulates and measured time of each stage and each head."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from early_exit import uncertainty as measures
from early_exit.engine import Engine
from early_exit.networks import MultiExitNetwork
from early_exit.stopwatch import milliseconds
from early_exit.waiting import keep

# Quartiles need some numbers, however large the batch.
FEWEST_ROUNDS = 3


class Part(NamedTuple):
    """Something that is timed on a batch."""

    part: str
    exit: int
    run: Callable[[torch.Tensor], object]
    batch: torch.Tensor


def price(
    network: MultiExitNetwork,
    shape: list[int],
    batch_sizes: list[int],
    repeats: int,
    measure: str,
    engine: Engine,
) -> pd.DataFrame:
    """MACs and milliseconds a sample of each stage, each head, and the overhead of each exit.

    The overhead is what a policy adds to a head: the uncertainty, the decision, and thinning the
    batch, half of which leaves. The repeats are interleaved, each part once a round, so that a slow
    moment of the machine does not fall on one part; the first round warms up and is not counted.

    Parameters
    ----------
    network
        K stages and K heads.
    shape
        Channels, height and width of a picture.
    batch_sizes
        Samples in a timed batch.
    repeats
        Rounds for the small batches; the larger ones have fewer, three at least.
    measure
        Name of the uncertainty measure.
    engine
        Device, precision and memory format.

    Returns
    -------
    pandas.DataFrame
        3K rows for each size: ``part`` (stage, head or overhead), ``exit`` (from 1),
        ``batch_size``, ``macs``, ``ms_per_sample`` (the median of the rounds), ``ms_low`` and
        ``ms_high`` (their quartiles).
    """
    network = engine.ready(network)
    counted = count_macs(network, _random_batch(shape, 1, engine))
    rows = []
    for size in batch_sizes:
        parts = _parts(network, _random_batch(shape, size, engine), measures.measure(measure))
        rounds = max(FEWEST_ROUNDS, min(repeats, repeats * 32 // size))
        for part, times in zip(parts, timed_rounds(parts, rounds, engine), strict=True):
            low, median, high = statistics.quantiles([t / size for t in times], n=4)
            work = counted.get((part.part, part.exit), 0)
            rows.append((part.part, part.exit, size, work, median, low, high))
    names = ["part", "exit", "batch_size", "macs", "ms_per_sample", "ms_low", "ms_high"]
    return pd.DataFrame(rows, columns=names)


@torch.inference_mode()
def count_macs(network: MultiExitNetwork, picture: torch.Tensor) -> dict[tuple[str, int], int]:
    """Multiply-accumulates of each stage and head, by part and exit (from 1)."""
    counted = {}
    features = picture
    for number, (stage, head) in enumerate(zip(network.stages, network.heads, strict=True), 1):
        counted["stage", number] = macs(stage, features)
        features = stage(features)
        counted["head", number] = macs(head, features)
    return counted


@torch.inference_mode()
def macs(module: nn.Module, batch: torch.Tensor) -> int:
    """Multiply-accumulates of ``module`` on ``batch``: convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        module(batch)
    # The counter counts a multiplication and an addition as two.
    return counter.get_total_flops() // 2


@torch.inference_mode()
def timed_rounds(parts: list[Part], rounds: int, engine: Engine) -> list[tuple[float, ...]]:
    """Milliseconds of each part in each of the rounds, one more before them to warm up."""
    times = [
        [milliseconds(part.run, part.batch, engine=engine) for part in parts]
        for _ in range(rounds + 1)
    ]
    return list(zip(*times[1:], strict=True))


def _random_batch(shape: list[int], size: int, engine: Engine) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, *shape), generator=generator, dtype=torch.uint8)
    return engine.pictures(images)


@torch.inference_mode()
def _parts(network: MultiExitNetwork, batch: torch.Tensor, measure: Callable) -> list[Part]:
    parts = []
    exits = len(network.stages)
    for number, (stage, head) in enumerate(zip(network.stages, network.heads, strict=True), 1):
        parts.append(Part("stage", number, stage, batch))
        batch = stage(batch)
        parts.append(Part("head", number, head, batch))
        logits = head(batch)
        threshold = measure(logits.float()).median()
        decide = _overhead(batch, measure, threshold, last=number == exits)
        parts.append(Part("overhead", number, decide, logits))
    return parts


def _overhead(
    features: torch.Tensor, measure: Callable, threshold: torch.Tensor, last: bool
) -> Callable:
    """What :class:`~early_exit.inference.EarlyExitRunner` does after a head."""

    def decide(logits: torch.Tensor) -> None:
        logits = logits.float()
        unsure = measure(logits)
        prediction = logits.argmax(dim=1)
        if last:
            return
        leaves = unsure < threshold
        count = int(leaves.sum())
        if count == 0:
            # A batch of one is never thinned.
            return
        leaving, staying = leaves.nonzero().flatten(), (~leaves).nonzero().flatten()
        prediction[leaving], unsure[leaving]
        keep(features, staying)

    return decide
