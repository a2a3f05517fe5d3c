"""Calibration time of each method against the number of samples, resampled from real ones."""

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

from early_exit.calibration.methods import exact_grid
from early_exit.calibration.targets import Target
from early_exit.errors import InputError
from early_exit.policy.costs import CostModel
from early_exit.policy.samples import Samples
from early_exit.policy.sweep import curves

REPEATS = 3
# One target per method, as users have.
TARGET = Target("drop", 0.01)
# Noise that breaks ties between copies of a sample.
JITTER = 1e-9
SWEEP = (1000, 1_000_000)
POLICIES = 8_000_000


def drawn(samples: Samples, count: int) -> Samples:
    """Draw ``count`` samples with replacement, with noise that breaks ties."""
    rng = np.random.default_rng(0)
    found = samples.select(rng.integers(len(samples), size=count))
    noise = JITTER * rng.random(found.uncertainty.shape)
    return replace(found, uncertainty=found.uncertainty + noise)


def measure(
    samples: Samples, costs: CostModel, methods: Sequence[str], sizes: Sequence[int]
) -> pd.DataFrame:
    """Measure the time of each method at each size, of the largest grid and of a large sweep.

    Returns
    -------
    pandas.DataFrame
        ``what``, ``samples``, ``policies`` (of the grid and the sweep), wall ``seconds`` and
        ``cpu_seconds`` (minima of three runs), and peak ``megabytes`` of the arrays.

    Raises
    ------
    InputError
        If there is only one exit.
    """
    if samples.exits < 2:
        raise InputError("scalability: a network with one exit has no thresholds to find")
    unit_costs = costs.in_unit(costs.unit)
    jobs: list[tuple[str, int, int | None, Callable[[Samples], Any]]] = []
    for size in sizes:
        for method in methods:
            find = import_module(f"early_exit.calibration.methods.{method}").thresholds
            jobs.append((method, size, None, partial(_calibrate, find, unit_costs)))
    looked = len(exact_grid.exits_looked_at(samples.exits))
    levels = int(POLICIES ** (1 / looked) + 1e-9)
    largest = partial(_grid, unit_costs, levels)
    jobs.append(("exact_grid, largest", len(samples), levels**looked, largest))
    jobs.append(("sweep", SWEEP[1], SWEEP[0], _sweep))
    rows = []
    for what, size, policies, job in tqdm(jobs, "scalability", disable=None):
        resampled = drawn(samples, size)
        rows.append({"what": what, "samples": size, "policies": policies, **_timed(job, resampled)})
    return pd.DataFrame(rows)


def _calibrate(find: Callable, unit_costs: Any, samples: Samples) -> None:
    find(samples, unit_costs, [TARGET])


def _grid(unit_costs: Any, levels: int, samples: Samples) -> None:
    exact_grid.exact_front(samples, unit_costs, levels)


def _sweep(samples: Samples) -> None:
    grid = np.linspace(0, samples.uncertainty.max(), SWEEP[0])
    curves(samples.uncertainty, samples.correct, grid)


def _timed(job: Callable[[Samples], Any], samples: Samples) -> dict[str, float]:
    times = []
    for _ in range(REPEATS):
        # A copy, without the cached sort.
        fresh = replace(samples)
        wall, cpu = time.perf_counter(), time.process_time()
        job(fresh)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    # In a run of its own, since tracing is slow.
    tracemalloc.start()
    job(replace(samples))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    wall, cpu = np.min(times, axis=0)
    return {"seconds": wall, "cpu_seconds": cpu, "megabytes": peak / 1e6}
