"""Seconds of each calibration method against the number of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from early_exit.figures.frontier import LOOKS, OTHER


def draw(tables: dict[str, Any]) -> Figure:
    """From ``scaling``."""
    table = _methods(tables["scaling"])
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for method, rows in table.groupby("what", sort=False):
        colour, marker, line = LOOKS.get(method, OTHER)
        name = f"{method}, n^{growth(rows):.2f}"
        style = {"color": colour, "marker": marker or "o", "markeredgecolor": "black"}
        axes.plot(rows.samples, rows.cpu_seconds, line or "--", label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="samples", ylabel="CPU seconds for one target")
    axes.set_title(f"{tables['experiment']}: how long calibration takes")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def growth(rows: pd.DataFrame) -> float:
    """The exponent of the samples with which the seconds grow: 1 is linear."""
    if len(rows) < 2:
        return float("nan")
    return float(np.polyfit(np.log(rows.samples), np.log(rows.cpu_seconds), 1)[0])


def _methods(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.policies.isna()]


def caption(tables: dict[str, Any]) -> str:
    """The slowest method, the largest grid, the large sweep, and how all grow."""
    table = tables["scaling"]
    methods = _methods(table)
    least = methods[methods.samples == methods.samples.min()]
    slowest = least.loc[least.seconds.idxmax()]
    rates = [growth(rows) for _, rows in methods.groupby("what")]
    grid = table[table.what == "exact_grid, largest"].iloc[0]
    sweep = table[table.what == "sweep"].iloc[0]
    return (
        f"On {slowest.samples:,} samples the slowest method, {slowest.what}, takes"
        f" {slowest.seconds:.2f} s; times grow with the samples to the power of {min(rates):.2f} to"
        f" {max(rates):.2f}. A grid of {grid.policies:,.0f} policies takes {grid.seconds:.2f} s and"
        f" {grid.megabytes:,.0f} MB, a sweep of {sweep.policies:,.0f} thresholds over"
        f" {sweep.samples:,} samples {sweep.seconds:.2f} s."
    )
