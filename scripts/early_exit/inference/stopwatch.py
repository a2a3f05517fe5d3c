"""Timers for one call, and for several calls in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from early_exit.inference.engine import Engine

# More rounds are timed while the quartiles of a time are this share of its median apart or more.
WIDE = 0.1
# Up to this many times as many rounds, begun within so many seconds.
MOST, SECONDS = 3, 30.0


def milliseconds(function: Callable, *arguments: Any, engine: Engine) -> float:
    """Wall-clock milliseconds of one call, with the device synchronised before and after."""
    engine.synchronise()
    start = time.perf_counter()
    function(*arguments)
    engine.synchronise()
    return 1e3 * (time.perf_counter() - start)


def in_turns(ways: Sequence[Callable[[], Any]], rounds: int, engine: Engine) -> np.ndarray:
    """Median milliseconds of each way, shape (W,). Each must have run before, to warm up.

    They take turns in rotating order, so that slow moments of the machine affect all of them:
    ``rounds`` times, or more often if the times vary (:func:`until_steady`).
    """
    return np.median(until_steady(lambda turn: one_turn(ways, turn, engine), rounds), axis=0)


def one_turn(ways: Sequence[Callable[[], Any]], turn: int, engine: Engine) -> np.ndarray:
    """Milliseconds of each way, shape (W,); each runs once, beginning with another every turn."""
    times = np.zeros(len(ways))
    for number in np.roll(np.arange(len(ways)), turn):
        times[number] = milliseconds(ways[number], engine=engine)
    return times


def until_steady(measure: Callable[[int], np.ndarray], rounds: int) -> np.ndarray:
    """Times of all rounds, shape (R, W), from ``measure(round)``, each of shape (W,).

    R is ``rounds`` if the times are alike; while the quartiles of any are :data:`WIDE` apart,
    rounds are added, until there are :data:`MOST` times as many or :data:`SECONDS` have passed.
    What the times are ends no measurement, only their spread, so none is favoured.
    """
    start = time.perf_counter()
    times = [measure(turn) for turn in range(rounds)]
    while len(times) < MOST * rounds and not _steady(np.array(times)):
        if time.perf_counter() - start > SECONDS:
            break
        times.append(measure(len(times)))
    return np.array(times)


def _steady(times: np.ndarray) -> bool:
    low, median, high = np.quantile(times, [0.25, 0.5, 0.75], axis=0)
    return bool((high - low <= WIDE * median).all())
