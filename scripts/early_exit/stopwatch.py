"""Timing one call, and several in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from early_exit.engine import Engine


def milliseconds(function: Callable, *arguments: Any, engine: Engine) -> float:
    """Wall-clock milliseconds of one call, the device's work done before and after."""
    engine.synchronise()
    start = time.perf_counter()
    function(*arguments)
    engine.synchronise()
    return 1e3 * (time.perf_counter() - start)


def in_turns(ways: Sequence[Callable[[], Any]], rounds: int, engine: Engine) -> np.ndarray:
    """Median milliseconds of each way, shape (W,). Each must have been run before, to warm up.

    They take turns, ``rounds`` times, another going first each time, so that the machine's slow
    moments meet all of them.
    """
    times = np.zeros((rounds, len(ways)))
    for turn in range(rounds):
        for number in np.roll(np.arange(len(ways)), turn):
            times[turn, number] = milliseconds(ways[number], engine=engine)
    return np.median(times, axis=0)
