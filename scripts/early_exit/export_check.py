"""Does an export do what the network does under torch, and how fast is it?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from early_exit.engine import Engine
from early_exit.errors import InputError
from early_exit.evaluation import Agreement, near_on_the_way
from early_exit.inference import EarlyExitRunner
from early_exit.networks import MultiExitNetwork
from early_exit.outcomes import Outcomes
from early_exit.policy import Policy
from early_exit.records import Records
from early_exit.stopwatch import in_turns

BATCH_SIZES = (1, 128)
# How many pictures are timed in each batch size, and how often.
PICTURES = {1: 256, 128: 2048}
ROUNDS = 7


def agreement(policy: Policy, records: Records, one: Outcomes, other: Outcomes) -> Agreement:
    """For how many samples two runs agree in exit and class; ties are known by the records.

    Raises
    ------
    InputError
        If they are not of as many samples.
    """
    if not len(one.exit) == len(other.exit) == len(records):
        counts = len(one.exit), len(other.exit), len(records)
        raise InputError(
            f"export: runs of {counts[0]} and {counts[1]} samples, {counts[2]} records"
        )
    uncertainty = records.uncertainty(policy.measure, policy.temperatures).astype(np.float64)
    equal = (one.exit == other.exit) & (one.prediction == other.prediction)
    return Agreement.of(equal, near_on_the_way(policy, uncertainty, one.exit, other.exit))


def time_both(
    network: MultiExitNetwork,
    policy: Policy,
    exported: Callable[[np.ndarray, int], Any],
    images: torch.Tensor,
    engine: Engine,
    regroup: bool,
) -> dict[str, dict[str, float]]:
    """Milliseconds a picture of the torch runner and of the export, by batch size.

    They take turns on the same pictures, scaling included, another going first each time; the
    median of the rounds counts.

    Parameters
    ----------
    exported
        Runs the export: pictures uint8 (N, channels, height, width) and a batch size.
    regroup
        Whether what is left of a batch waits, under torch, as the experiment has it.

    Returns
    -------
    dict
        By batch size ``ms_torch``, ``ms_onnx`` and ``speed``, the first divided by the second.
    """
    found = {}
    for size in BATCH_SIZES:
        some = images[: PICTURES[size]]
        runner = EarlyExitRunner(
            network, policy, engine, engine.worth_waiting_for(size) if regroup else None
        )
        ways = [_under_torch(runner, engine, some, size), _exported(exported, some, size)]
        for way in ways:
            way()
        ms = in_turns(ways, ROUNDS, engine) / len(some)
        found[str(size)] = {
            "ms_torch": float(ms[0]),
            "ms_onnx": float(ms[1]),
            "speed": float(ms[0] / ms[1]),
        }
    return found


def _under_torch(
    runner: EarlyExitRunner, engine: Engine, images: torch.Tensor, size: int
) -> Callable[[], Any]:
    def run() -> None:
        starts = range(0, len(images), size)
        runner.run(engine.pictures(images[start : start + size]) for start in starts)

    return run


def _exported(
    exported: Callable[[np.ndarray, int], Any], images: torch.Tensor, size: int
) -> Callable[[], Any]:
    pictures = images.numpy()
    return lambda: exported(pictures, size)
