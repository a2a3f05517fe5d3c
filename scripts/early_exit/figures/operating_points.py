"""The calibrated policies: time against accuracy, labelled by what was asked for."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style
from early_exit.targets import label

# Of the longest time, between labels; and of the accuracies' span, below an interval.
LABEL_GAP = 0.06
LABEL_RISE = 0.06
# No accuracy is above 100 %.
TOP = 100.5


def draw(tables: dict[str, Any]) -> Figure:
    """From ``points`` (test split, with intervals) and ``summary``."""
    points, summary = tables["points"], tables["summary"]
    figure, axes = pyplot.subplots(figsize=(8, 5.6))
    colours = iter((style.BLUE, style.GREEN, style.PINK, style.SKY, style.ORANGE))
    for method, rows in points[points.method != "whole_network"].groupby("method"):
        rows = rows.sort_values("target")
        colour = next(colours)
        half_widths = [rows.accuracy - rows.accuracy_low, rows.accuracy_high - rows.accuracy]
        axes.errorbar(
            rows.ms_per_sample,
            100 * rows.accuracy,
            yerr=[100 * half for half in half_widths],
            fmt="o",
            color=colour,
            capsize=3,
            elinewidth=1,
            label=f"{method}, 95 % interval",
        )
        _labels(axes, rows, points, colour)
    whole = points[points.method == "whole_network"].iloc[0]
    chosen = points[points.chosen].iloc[0]
    style.mark_whole_network(axes, whole.ms_per_sample, 100 * whole.accuracy)
    style.mark_chosen(axes, chosen.ms_per_sample, 100 * chosen.accuracy)
    axes.set_xlim(left=0)
    axes.margins(y=0.15)
    axes.set_ylim(top=min(axes.get_ylim()[1], TOP))
    axes.set(xlabel=f"{style.TIME}\n{style.batches(summary)}", ylabel="accuracy on test (%)")
    axes.set_title(f"{summary['experiment']}: calibrated policies, labelled by target")
    axes.legend(loc="best")
    return figure


def _labels(axes: Axes, rows: pd.DataFrame, points: pd.DataFrame, colour: str) -> None:
    """The targets, side by side below their points; what coincides shares a label."""
    gap = points.ms_per_sample.max() * LABEL_GAP
    rise = 100 * (points.accuracy_high.max() - points.accuracy_low.min()) * LABEL_RISE
    free_from = -gap
    for (time, accuracy), group in rows.groupby(["ms_per_sample", "accuracy"]):
        place = max(time, free_from)
        free_from = place + gap * len(group)
        axes.annotate(
            ", ".join(map(label, group.target_kind, group.target)),
            (time, 100 * accuracy),
            xytext=(place, 100 * group.accuracy_low.iloc[0] - rise),
            fontsize=9,
            color=colour,
            ha="left",
            bbox=style.CLEAR,
            zorder=1.5,
            arrowprops={"arrowstyle": "-", "color": style.GREY, "linewidth": 0.6},
        )


def caption(tables: dict[str, Any]) -> str:
    """How far calibration and test lie apart, and what the chosen policy gives."""
    points, summary = tables["points"], tables["summary"]
    gap = (points.accuracy - points.calibration_accuracy).abs().max()
    selected, static = summary["selected"], summary["static"]
    return (
        f"Thresholds found on {summary['samples']['calibration']:,} calibration pictures, accuracy"
        f" measured on {summary['samples']['test']:,} test pictures; the two differ by at most"
        f" {100 * gap:.2f} points. The chosen policy really ran at {selected['accuracy']:.2%} and"
        f" {selected['ms_per_sample']:.3f} ms a picture, {selected['speedup']:.2f} times as fast as"
        f" the whole network ({static['accuracy']:.2%}, {static['ms_per_sample']:.3f} ms)."
    )
