"""Costs of a network: multiply-accumulates and measured time of each stage and each head."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from early_exit.errors import InputError, reason_of
from early_exit.inference.alone import alone, whole
from early_exit.inference.backends.network import plain_network
from early_exit.inference.decisions import Decisions
from early_exit.inference.engine import Engine
from early_exit.inference.macs import counted
from early_exit.inference.parts import Part, TimedMeasure, parts_of
from early_exit.inference.stopwatch import milliseconds
from early_exit.networks import MultiExitNetwork
from early_exit.networks.checks import check_confidence
from early_exit.networks.heads import always_run, callable_head, takes_earlier
from early_exit.structures.inputs import InputSpec
from early_exit.structures.tree import Structure, tensors

LOGGER = logging.getLogger(__name__)
# Quartiles need some values, however large the batch.
FEWEST_ROUNDS = 3
# Passes of a single sample in a row: after something else the first finds cold caches.
IN_A_ROW = 8
# Least share of a time that noise leaves.
LEAST = 0.01


def measure_costs(
    network: MultiExitNetwork,
    shape: InputSpec | Sequence[int],
    batch_sizes: list[int],
    repeats: int,
    measured: Sequence[str],
    engine: Engine,
    warn: Callable[[str], object] = LOGGER.warning,
) -> pd.DataFrame:
    """MACs and milliseconds per sample of each stage, each head, and each exit's overhead.

    The overhead is what a policy adds to a head: computing the uncertainty, deciding, and removing
    the samples that exit, here half of the batch. Rounds are interleaved, so that a slow moment of
    the machine does not fall on one part. The first round warms up and is not counted.

    A sample on its own may be run by one graph (:mod:`early_exit.inference.alone`); with batches of
    one, an exit's stage, head and overhead then add up to what it adds to that.

    In a cascade an earlier head's price counts with its stage, and the head's own is 0: later heads
    take its logits, so it runs for every sample that passes, whatever its threshold.

    Parameters
    ----------
    network
        K stages and K heads.
    shape
        What the network takes: channels, height and width of images, or other inputs.
    batch_sizes
        Samples in a timed batch.
    repeats
        Rounds for small batches; larger ones have fewer, at least three.
    measured
        Names of the uncertainty measures; the overhead is that of the slowest.
    engine
        Device, precision and memory format.
    warn
        Receives a one-line message for each stage or head whose MACs may be too low.

    Returns
    -------
    pandas.DataFrame
        3K rows per batch size: ``part`` (stage, head or overhead), ``exit`` (from 1),
        ``batch_size``, ``macs``, ``ms_per_sample`` (the median of the rounds), ``ms_low`` and
        ``ms_high`` (their quartiles).

    Raises
    ------
    InputError
        If a stage or head cannot be run by this engine, or ``confidence`` is among the measures and
        the heads return none.
    """
    network, spec = engine.ready(network), InputSpec.of(shape)
    one = engine.prepare(spec.stored(1))
    # Of graphs there is nothing to count: theirs are the MACs of what they were made of.
    counts = count_macs(plain_network(network), one, warn)
    check_confidence(network, one, measured)
    needed, rows = always_run(network), []
    for size in batch_sizes:
        functions = [TimedMeasure(name, len(network.stages)) for name in measured]
        batch = engine.prepare(spec.stored(size))
        parts = parts_of(network, batch, functions)
        rounds = max(FEWEST_ROUNDS, min(repeats, repeats * 32 // size))
        passes = _passes(network, measured, batch) if size == 1 else []
        taken = _without_stages(parts, timed_rounds(parts, rounds, engine))
        taken = _with_stages(parts, taken, needed)
        if passes:
            taken = _as_one_graph(parts, taken, timed_rounds(passes, rounds, engine))
        for part, times in zip(parts, taken, strict=True):
            low, median, high = statistics.quantiles([t / size for t in times], n=4)
            work = counts.get((part.part, part.exit), 0)
            rows.append((part.part, part.exit, size, work, median, low, high))
    names = ["part", "exit", "batch_size", "macs", "ms_per_sample", "ms_low", "ms_high"]
    return _slowest(pd.DataFrame(rows, columns=names))


def _without_stages(
    parts: Sequence[Part], taken: Sequence[tuple[float, ...]]
) -> list[tuple[float, ...]]:
    """Times of each part in each round; of a head that was timed with its stage, what it adds."""
    stages = {
        part.exit: times for part, times in zip(parts, taken, strict=True) if part.part == "stage"
    }
    return [
        tuple(
            max(both - one, LEAST * both) for both, one in zip(own, stages[part.exit], strict=True)
        )
        if part.includes_stage
        else own
        for part, own in zip(parts, taken, strict=True)
    ]


def _with_stages(
    parts: Sequence[Part], taken: Sequence[tuple[float, ...]], needed: int
) -> list[tuple[float, ...]]:
    """Times of each part in each round, those of the first heads as a part of their stages'."""
    found = list(taken)
    numbers = {(part.part, part.exit): number for number, part in enumerate(parts)}
    for exit_number in range(1, needed + 1):
        stage, head = (numbers[name, exit_number] for name in ("stage", "head"))
        found[stage] = tuple(a + b for a, b in zip(found[stage], found[head], strict=True))
        found[head] = (0.0,) * len(found[head])
    return found


def _passes(network: MultiExitNetwork, measured: Sequence[str], batch: Structure) -> list[Part]:
    """Passes of a sample up to each exit with all heads, and through the network without them.

    Each several times in a row; none where no graph runs a sample on its own.
    """
    exits = len(network.heads)
    runs, thresholds = (True,) * exits, (0.0,) * (exits - 1)
    policies = [Decisions(name, True, None, runs, thresholds) for name in measured]
    single = next(filter(None, (alone(network, policy) for policy in policies)), None)
    full = whole(network)
    if single is None or full is None:
        return []

    def in_a_row(run: Callable, *given: Any) -> None:
        for _ in range(IN_A_ROW):
            run(*given)

    ends = single.passes().items()
    return [
        *(Part("pass", k + 1, in_a_row, (run, batch)) for k, run in ends),
        Part("whole", exits, in_a_row, (full, batch)),
    ]


def _as_one_graph(
    parts: Sequence[Part],
    taken: Sequence[tuple[float, ...]],
    passes: Sequence[tuple[float, ...]],
) -> list[tuple[float, ...]]:
    """Times of the parts, scaled so that those of each exit add up to what it adds to a pass.

    One by one, parts mostly wait for calls. In one graph heads and decisions take what the passes
    take longer than the network without them; each its share of that by its time by itself.
    """
    each = np.array([np.median(times) for times in taken])
    *ends, whole = (float(np.median(times)) / IN_A_ROW for times in passes)
    added = np.diff(ends, prepend=0.0)

    def of(exit: int, name: str) -> float:
        """With several measures an exit has as many overheads; a policy has one of them."""
        own = [each[i] for i, one in enumerate(parts) if (one.part, one.exit) == (name, exit)]
        return float(max(own))

    exits = range(1, len(ends) + 1)
    alone = [of(k, "head") + of(k, "overhead") for k in exits]
    early = max(0.0, ends[-1] - whole) / sum(alone[:-1])
    found = []
    for part, times in zip(parts, taken, strict=True):
        k = part.exit
        # Noise may leave nothing for a stage, or for heads.
        deciding = float(np.clip(early * alone[k - 1], LEAST * added[k - 1], 0.5 * added[k - 1]))
        scale = deciding / alone[k - 1]
        if part.part == "stage":
            scale = (added[k - 1] - deciding) / of(k, "stage")
        found.append(tuple(max(scale, LEAST) * one for one in times))
    return found


def _slowest(costs: pd.DataFrame) -> pd.DataFrame:
    """Of the overheads by several measures the one of the slowest; rows keep their order."""
    same = ["part", "exit", "batch_size"]
    slowest = costs.groupby(same, sort=False).ms_per_sample.idxmax()
    return costs.loc[slowest].reset_index(drop=True)


@torch.no_grad()
def count_macs(
    network: MultiExitNetwork, sample: Structure, warn: Callable[[str], object] = LOGGER.warning
) -> dict[tuple[str, int], int]:
    """Multiply-accumulates of each stage and head, by part and exit (from 1).

    In a cascade an earlier head counts with its stage, and as 0.
    :mod:`early_exit.inference.macs` lists which operations count. ``sample`` is a batch of one, as
    the network takes it. ``warn`` receives a message where a count may be too low.

    Raises
    ------
    InputError
        If a stage or head cannot be run on such a sample.
    """
    found = {}
    engine = _seen(sample)
    features, earlier, needed = sample, (), always_run(network)
    for number, (stage, head) in enumerate(zip(network.stages, network.heads, strict=True), 1):
        found["stage", number] = _counted(f"stage {number}", stage, (features,), engine, warn)
        features = stage(features)
        given = (features, earlier) if takes_earlier(head) else (features,)
        found["head", number] = _counted(f"head {number}", head, given, engine, warn)
        if number <= needed:
            earlier = (*earlier, callable_head(head)(features, earlier).logits)
            found["stage", number] += found["head", number]
            found["head", number] = 0
    return found


def _seen(sample: Structure) -> str:
    """Type and device of a sample, for messages."""
    kinds = [one for one in tensors(sample) if one.is_floating_point()] or tensors(sample)
    return f"{str(kinds[0].dtype).removeprefix('torch.')} on {kinds[0].device.type}"


def macs(module: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-accumulates of ``module`` on ``inputs``; see :mod:`early_exit.inference.macs`."""
    return counted(module, *inputs).macs


def _counted(
    name: str,
    module: nn.Module,
    given: tuple[Any, ...],
    engine: str,
    warn: Callable[[str], object],
) -> int:
    try:
        cost = counted(module, *given)
    # The module may be the user's code, which may raise anything.
    except Exception as error:
        raise InputError(
            f"cost: {name} cannot be run in {engine} ({reason_of(error)})",
            "set inference.precision to fp32, or let the network's code follow the dtype and the"
            " device of its input",
        ) from error
    for doubt in cost.doubts:
        warn(
            f"cost: {name}: {doubt}; if it contains a matrix product, {cost.macs:,} MACs are too"
            " few and thresholds would be wrong: set calibration.cost to ms"
        )
    return cost.macs


@torch.inference_mode()
def timed_rounds(parts: list[Part], rounds: int, engine: Engine) -> list[tuple[float, ...]]:
    """Milliseconds of each part in each round, after one round of warm-up."""
    times = [
        [milliseconds(part.run, *part.given, engine=engine) for part in parts]
        for _ in range(rounds + 1)
    ]
    return list(zip(*times[1:], strict=True))
