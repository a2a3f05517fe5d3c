"""The published experiment: published, reproduced and corrected, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style

# Half a unit in the last digit of most published accuracies.
ROUNDING = 0.0005 + 1e-6
SERIES = {"published": style.GREY, "reproduced": style.ORANGE, "corrected": style.BLUE}


def draw(tables: dict[str, Any]) -> Figure:
    """Three panels from ``reproduction``: overall accuracies, each exit, thresholds."""
    table = tables["reproduction"]
    figure, (overall, each, thresholds) = pyplot.subplots(
        1, 3, figsize=(15, 5), width_ratios=(7, 6, 6)
    )
    rows = _rows(table, "overall accuracy")
    names = [
        q.replace("overall accuracy, ", "")
        .replace("desired", "desired\n")
        .replace("cutoff", "cutoff\n")
        for q in rows.quantity
    ]
    _bars(overall, rows, names, 100, "%.1f")
    overall.set(ylabel=style.ACCURACY, ylim=(0, 116), title="Overall accuracy")
    rows = _rows(table, "accuracy at exit")
    names = [f"exit {k}" for k in range(1, len(rows) + 1)]
    _bars(each, rows, names, 100, "%.0f")
    each.set(
        ylabel=style.ACCURACY, ylim=(0, 116), title="Accuracy of the samples that exit, cutoff 0.6"
    )
    rows = _rows(table, "threshold of exit")
    _bars(thresholds, rows, names, 1, "%.3f")
    thresholds.set(ylabel="threshold (nats)", title="Thresholds for desired accuracy 0.85")
    style.legend(figure, overall)
    style.title(
        figure,
        "The published experiment: samples exit when entropy is above the threshold (published,"
        " reproduced with its own weights) or below it (corrected)",
    )
    return figure


def _rows(table: pd.DataFrame, beginning: str) -> pd.DataFrame:
    return table[table.quantity.str.startswith(beginning)]


def _bars(axes: Axes, rows: pd.DataFrame, names: list[str], factor: float, fmt: str) -> None:
    positions = np.arange(len(rows))
    width = 0.28
    for offset, (series, colour) in enumerate(SERIES.items(), -1):
        values = factor * rows[series].to_numpy(float)
        finite = np.where(np.isfinite(values), values, 0)
        bars = axes.bar(positions + offset * width, finite, width, color=colour, label=series)
        labels = [fmt % v if np.isfinite(v) else "all exit" for v in values]
        axes.bar_label(bars, labels, fontsize=7, rotation=90, padding=3)
    axes.set_xticks(positions, names, fontsize=9)
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.18)


def caption(tables: dict[str, Any]) -> str:
    """Largest reproduction error, and the corrected accuracies."""
    table = tables["reproduction"].set_index("quantity")
    shares = table[table.index.str.contains("accuracy")]
    difference = (shares.published - shares.reproduced).abs().max()
    headline = table.loc["overall accuracy, desired 0.80"]
    cutoff = table.loc["overall accuracy, cutoff 0.6"]
    rounding = ", which is rounding" if difference <= ROUNDING else ""
    return (
        "Grey and orange bars of one height: the published numbers come out again."
        f" Reproduced accuracies differ from the published ones by at most"
        f" {difference:.4f}{rounding}. Corrected, so that samples exit when entropy is below the"
        f" threshold, the accuracy at cutoff 0.6 is {cutoff.corrected:.2%}, not"
        f" {cutoff.published:.2%}, and the headline (desired accuracy 0.80)"
        f" {headline.corrected:.2%}, not {headline.published:.1%}."
    )
