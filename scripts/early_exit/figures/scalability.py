"""Seconds of each calibration method against the number of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from early_exit.figures import style


def draw(tables: dict[str, Any]) -> Figure:
    """One panel from ``scalability``."""
    table = _methods(tables["scalability"])
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for method, rows in table.groupby("what", sort=False):
        colour, marker, line = style.METHODS.get(method, style.OTHER)
        name = f"{method}, n^{growth(rows):.2f}"
        look = {"color": colour, "marker": marker, "markersize": 5}
        axes.plot(rows.samples, rows.cpu_seconds, line or "--", label=name, **look)
    axes.set(xscale="log", yscale="log", xlabel="samples", ylabel="CPU seconds for one target")
    axes.minorticks_off()
    style.title(figure, f"{tables['experiment']}: calibration time against the number of samples")
    style.legend(figure, axes, columns=3)
    return figure


def growth(rows: pd.DataFrame) -> float:
    """Exponent of the growth of time with the number of samples; 1 is linear."""
    if len(rows) < 2:
        return float("nan")
    return float(np.polyfit(np.log(rows.samples), np.log(rows.cpu_seconds), 1)[0])


def _methods(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.policies.isna()]


def caption(tables: dict[str, Any]) -> str:
    """Times of the slowest method, the largest grid and a large sweep, and their growth."""
    table = tables["scalability"]
    methods = _methods(table)
    least = methods[methods.samples == methods.samples.min()]
    slowest = least.loc[least.seconds.idxmax()]
    rates = [growth(rows) for _, rows in methods.groupby("what")]
    grid = table[table.what == "exact_grid, largest"].iloc[0]
    sweep = table[table.what == "sweep"].iloc[0]
    return (
        "In the legend, the power of the number of samples by which time grows; 1 is linear."
        f" On {slowest.samples:,} samples the slowest method, {slowest.what}, takes"
        f" {slowest.seconds:.2f} s. Time grows as the number of samples to the power"
        f" {min(rates):.2f} to {max(rates):.2f}, depending on the method. A grid of"
        f" {grid.policies:,.0f} policies takes {grid.seconds:.2f} s and"
        f" {grid.megabytes:,.0f} MB, a sweep of {sweep.policies:,.0f} thresholds over"
        f" {sweep.samples:,} samples {sweep.seconds:.2f} s."
    )
