"""The calibrated policies: time against accuracy, labelled by what was asked for."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style
from early_exit.targets import label

COLUMNS = 3
# Of the accuracies' span, between labels.
LABEL_RISE = 0.055
# No accuracy is above 100 %.
TOP = 100.5


def draw(tables: dict[str, Any]) -> Figure:
    """From ``points`` (test split, with intervals) and ``summary``: a panel for each method."""
    points, summary = tables["points"], tables["summary"]
    calibrated = points[points.method != "whole_network"]
    cost = style.cost_shown(points)
    points, calibrated = (t.assign(cost=cost.factor * t[cost.column]) for t in (points, calibrated))
    methods = calibrated.method.unique().tolist()
    columns = min(COLUMNS, len(methods))
    lines = -(-len(methods) // columns)
    figure, places = pyplot.subplots(
        lines,
        columns,
        figsize=(1 + max(6.5, 4.6 * columns), 1.2 + 4.4 * lines),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axes, method in zip(places.flat, methods, strict=False):
        _panel(axes, calibrated[calibrated.method == method], points)
        axes.set_title(method)
    for axes in places.flat[len(methods) :]:
        axes.set_visible(False)
    first = places[0, 0]
    first.set_xlim(0, 1.25 * points.cost.max())
    first.margins(y=0.12)
    first.set_ylim(top=min(first.get_ylim()[1], TOP))
    for axes, method in zip(places.flat, methods, strict=False):
        _labels(axes, calibrated[calibrated.method == method])
    axis = cost.axis if summary["simulated"] else cost.axis.replace("(ms)", "(ms, predicted)")
    words = f"{axis}\n{style.batches(summary)}"
    for axes in places[-1]:
        axes.set_xlabel(words)
    for axes in places[:, 0]:
        axes.set_ylabel("accuracy on test (%)")
    figure.suptitle(f"{summary['experiment']}: calibrated policies, labelled by what was asked for")
    handles, names = first.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, points: pd.DataFrame) -> None:
    low, high = rows.accuracy - rows.accuracy_low, rows.accuracy_high - rows.accuracy
    axes.errorbar(
        rows.cost,
        100 * rows.accuracy,
        yerr=[100 * low, 100 * high],
        fmt="o",
        color=style.BLUE,
        capsize=3,
        elinewidth=1,
        label="policy, 95 % interval",
    )
    whole = points[points.method == "whole_network"].iloc[0]
    chosen = points[points.chosen].iloc[0]
    style.mark_whole_network(axes, whole.cost, 100 * whole.accuracy)
    style.mark_chosen(axes, chosen.cost, 100 * chosen.accuracy)


def _labels(axes: Axes, rows: pd.DataFrame) -> None:
    """The targets right of their points, from the top down; what coincides shares a label."""
    rise = LABEL_RISE * (axes.get_ylim()[1] - axes.get_ylim()[0])
    away = 0.04 * axes.get_xlim()[1]
    free_below = axes.get_ylim()[1] - rise / 2
    groups = list(rows.groupby(["accuracy", "cost"]))
    for (accuracy, time), group in reversed(groups):
        free_below = min(100 * accuracy, free_below - rise)
        axes.annotate(
            ", ".join(map(label, group.target_kind, group.target)),
            (time, 100 * accuracy),
            xytext=(time + away, free_below),
            fontsize=8,
            va="center",
            bbox=style.CLEAR,
            zorder=1.5,
            arrowprops={"arrowstyle": "-", "color": style.GREY, "linewidth": 0.6},
        )


def caption(tables: dict[str, Any]) -> str:
    """How far calibration and test lie apart, and what the chosen policy gives."""
    points, summary = tables["points"], tables["summary"]
    gap = (points.accuracy - points.calibration_accuracy).abs().max()
    selected, static = summary["selected"], summary["static"]
    text = (
        f"Thresholds found on {summary['samples']['calibration']:,} calibration pictures, accuracy"
        f" measured on {summary['samples']['test']:,} test pictures; the two differ by at most"
        f" {100 * gap:.2f} points."
    )
    if summary["simulated"]:
        own, whole = (
            style.cost_words(way["macs"], way["ms_per_sample_predicted"])
            for way in (selected, static)
        )
        return (
            f"{text} The chosen policy, simulated from the records, is right on"
            f" {selected['accuracy']:.2%} for {own} a picture; the whole network on"
            f" {static['accuracy']:.2%} for {whole}."
        )
    return (
        f"{text} The chosen policy really ran at {selected['accuracy']:.2%} and"
        f" {selected['ms_per_sample']:.3f} ms a picture, {selected['speedup']:.2f} times as fast as"
        f" the whole network ({static['accuracy']:.2%}, {static['ms_per_sample']:.3f} ms)."
    )
