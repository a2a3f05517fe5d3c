"""Reliability diagrams: accuracy against confidence, one panel per exit."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style
from early_exit.statistics.intervals import wilson_interval

SERIES = {False: ("as it is", style.ORANGE, "o"), True: ("with temperature", style.BLUE, "v")}


def draw(tables: dict[str, Any]) -> Figure:
    """A panel for each exit, or for some of many, from ``bins`` and ``exits``."""
    exit_table, bins = tables["exits"], tables["bins"]
    exits = int(exit_table.exit.max())
    figure, panels, shown = style.panels_of_exits(exits, height=3.3)
    for number, axes in zip(shown, panels.flat, strict=False):
        _panel(axes, bins[bins.exit == number])
        plain, scaled = (
            exit_table[(exit_table.exit == number) & (exit_table.scaled == way)].iloc[0]
            for way in SERIES
        )
        axes.set_title(
            f"exit {number}: ECE {plain.calibration_error:.3f}; with T = {scaled.temperature:.2f},"
            f" {scaled.calibration_error:.3f}",
            fontsize=9,
        )
        axes.set(xlim=(-2, 102), ylim=(-2, 102))
    for axes in panels[-1]:
        axes.set_xlabel("confidence (%)")
    for axes in panels[:, 0]:
        axes.set_ylabel("accuracy on test (%)")
    some = f" ({len(shown)} of {exits} exits)" if len(shown) < exits else ""
    style.title(figure, f"{tables['experiment']}: reliability of the exits' probabilities{some}")
    style.legend(figure, *panels.flat[: len(shown)])
    return figure


def _panel(axes: Axes, bins: pd.DataFrame) -> None:
    """Draw accuracy against confidence; bins of few samples are grey, and no line runs to them."""
    look = {"color": "black", "linewidth": 0.8, "linestyle": ":", "zorder": 1}
    axes.plot([0, 100], [0, 100], label="perfect", **look)
    for scaled, (words, colour, marker) in SERIES.items():
        rows = bins[bins.scaled == scaled]
        many, few = rows[rows.samples >= style.FEW], rows[rows.samples < style.FEW]
        intervals = [
            wilson_interval(round(a * n), n)
            for a, n in zip(many.accuracy, many.samples, strict=True)
        ]
        low, high = zip(*intervals, strict=True) if intervals else ((), ())
        axes.errorbar(
            100 * many.confidence,
            100 * many.accuracy,
            yerr=style.half_widths(many.accuracy, low, high),
            fmt=f"{marker}-",
            color=colour,
            markersize=4,
            linewidth=1,
            elinewidth=0.8,
            label=f"{words}, 95 % interval",
            zorder=3,
        )
        faint = {"color": "#C0C0C0", "markersize": 3, "markerfacecolor": "white", "zorder": 2}
        label = f"fewer than {style.FEW} samples"
        if len(few):
            axes.plot(100 * few.confidence, 100 * few.accuracy, marker, label=label, **faint)


def caption(tables: dict[str, Any]) -> str:
    """Calibration error before and after temperature scaling, and AUROC of the exits."""
    table = tables["exits"]
    plain, scaled = table[~table.scaled], table[table.scaled]
    before, after = plain.calibration_error.mean(), scaled.calibration_error.mean()
    area = plain.auroc_entropy
    return (
        "Points below the diagonal: an exit that is too confident. A temperature (T) for each exit"
        " changes the mean expected calibration error (ECE) from"
        f" {before:.2%} to {after:.2%}. Entropy detects errors with an AUROC of {area.min():.3f} to"
        f" {area.max():.3f}, depending on the exit."
    )
