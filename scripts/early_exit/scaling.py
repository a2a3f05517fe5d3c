"""How long each calibration method takes as samples grow, on samples drawn from real ones."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from early_exit.calibration import exact_grid
from early_exit.cost_model import CostModel
from early_exit.errors import InputError
from early_exit.samples import Samples
from early_exit.sweep import curves
from early_exit.targets import Target

REPEATS = 3
# Each method is asked for one thing, as a user does.
TARGET = Target("drop", 0.01)
# Drawn samples must not be tied with those that they were drawn from.
JITTER = 1e-9
SWEEP = (1000, 1_000_000)
POLICIES = 8_000_000


def drawn(samples: Samples, count: int) -> Samples:
    """``count`` samples, drawn with replacement, their uncertainties told apart."""
    rng = np.random.default_rng(0)
    found = samples.select(rng.integers(len(samples), size=count))
    noise = JITTER * rng.random(found.uncertainty.shape)
    return replace(found, uncertainty=found.uncertainty + noise)


def measure(
    samples: Samples, costs: CostModel, methods: Sequence[str], sizes: Sequence[int]
) -> pd.DataFrame:
    """Seconds of each method at each size, of the largest grid, and of a large sweep.

    Returns
    -------
    pandas.DataFrame
        ``what``, ``samples``, ``policies`` (of the grid and the sweep), wall ``seconds`` and
        ``cpu_seconds`` (least of three runs), and peak ``megabytes`` of the arrays.

    Raises
    ------
    InputError
        If there is one exit only.
    """
    if samples.exits < 2:
        raise InputError("scaling: a network with one exit has no thresholds to find")
    prices = costs.prices(costs.unit)
    jobs: list[tuple[str, int, int | None, Callable[[Samples], Any]]] = []
    for size in sizes:
        for method in methods:
            find = import_module(f"early_exit.calibration.{method}").thresholds
            jobs.append((method, size, None, partial(_calibrate, find, prices)))
    exits = samples.exits
    levels = int(POLICIES ** (1 / (exits - 1)) + 1e-9)
    largest = partial(_grid, prices, levels)
    jobs.append(("exact_grid, largest", len(samples), levels ** (exits - 1), largest))
    jobs.append(("sweep", SWEEP[1], SWEEP[0], _sweep))
    rows = []
    for what, size, policies, job in tqdm(jobs, "scaling", disable=None):
        given = drawn(samples, size)
        rows.append({"what": what, "samples": size, "policies": policies, **_timed(job, given)})
    return pd.DataFrame(rows)


def _calibrate(find: Callable, prices: Any, samples: Samples) -> None:
    find(samples, prices, [TARGET])


def _grid(prices: Any, levels: int, samples: Samples) -> None:
    exact_grid.exact_front(samples, prices, levels)


def _sweep(samples: Samples) -> None:
    grid = np.linspace(0, samples.uncertainty.max(), SWEEP[0])
    curves(samples.uncertainty, samples.correct, grid)


def _timed(job: Callable[[Samples], Any], samples: Samples) -> dict[str, float]:
    times = []
    for _ in range(REPEATS):
        # A copy has sorted nothing yet.
        fresh = replace(samples)
        wall, cpu = time.perf_counter(), time.process_time()
        job(fresh)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    # Apart, since it slows things down.
    tracemalloc.start()
    job(replace(samples))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    wall, cpu = np.min(times, axis=0)
    return {"seconds": wall, "cpu_seconds": cpu, "megabytes": peak / 1e6}
