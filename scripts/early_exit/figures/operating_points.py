"""Accuracy against cost of the calibrated policies on the test split."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.analysis.best_measures import best_measures
from early_exit.figures import style


def draw(tables: dict[str, Any]) -> Figure:
    """One panel from ``points`` (test split, with intervals) and ``summary``."""
    points, summary = best_measures(tables["points"], "calibration_cost"), tables["summary"]
    cost = style.cost_shown(points, summary)
    points = points.assign(cost=cost.factor * points[cost.column])
    figure, axes = pyplot.subplots(figsize=(8.6, 5.6))
    calibrated = points[points.method != "full_network"]
    methods = calibrated.method.unique().tolist()
    for number, method in enumerate(reversed(methods)):
        rows = calibrated[calibrated.method == method].drop_duplicates(["accuracy", "cost"])
        # Rings of different sizes: methods that find the same policy do not hide each other.
        _policies(axes, method, rows, 5 + 2.5 * (len(methods) - 1 - number))
    full = points[points.method == "full_network"].iloc[0]
    chosen = points[points.chosen].iloc[0]
    axes.axhline(100 * full.accuracy, color="black", linewidth=0.8, linestyle=":", zorder=1)
    style.mark_full_network(axes, full.cost, 100 * full.accuracy)
    style.mark_chosen(axes, chosen.cost, 100 * chosen.accuracy)
    axes.set_xlim(0, 1.06 * points.cost.max())
    axes.set_ylim(*style.limits(100 * points.accuracy_low, 100 * points.accuracy_high))
    style.label_cost(axes.xaxis, cost, f"\n{style.batches(summary)}")
    axes.set_ylabel("accuracy on test (%)")
    style.title(figure, f"{summary['experiment']}: calibrated policies, with 95 % intervals")
    style.legend(figure, axes, columns=3)
    return figure


def _policies(axes: Axes, method: str, rows: pd.DataFrame, size: float) -> None:
    colour, marker, _ = style.METHODS.get(method, style.OTHER)
    axes.errorbar(
        rows.cost,
        100 * rows.accuracy,
        yerr=style.half_widths(rows.accuracy, rows.accuracy_low, rows.accuracy_high),
        fmt=marker,
        color=colour,
        markerfacecolor="none",
        markersize=size,
        elinewidth=0.7,
        label=method,
    )


def caption(tables: dict[str, Any]) -> str:
    """Largest gap between calibration and test, and the chosen policy's accuracy and cost."""
    points, summary = tables["points"], tables["summary"]
    # A target is counted once a method, however many measures there are.
    asked = points[["method", "target_kind", "target"]].drop_duplicates()
    unreached = len(asked) - len(best_measures(points, "calibration_cost"))
    gap = (points.accuracy - points.calibration_accuracy).abs().max()
    selected, full = summary["selected"], summary["full_network"]
    text = (
        "Up and to the left is better; the star was chosen by the calibration split alone."
        f" Thresholds are from {summary['samples']['calibration']:,} calibration samples,"
        f" accuracies from {summary['samples']['test']:,} test samples. Calibration and test"
        f" accuracy differ by at most {100 * gap:.2f} points."
    )
    if unreached:
        text += f" Not shown: {unreached} budgets that no policy meets."
    if summary["simulated"]:
        own, other = (
            style.cost_words(way["macs"], way["ms_per_sample_predicted"], summary)
            for way in (selected, full)
        )
        return (
            f"{text} The chosen policy, simulated from the records, is"
            f" {selected['accuracy']:.2%} accurate at {own} per sample; the full network"
            f" {full['accuracy']:.2%} at {other}."
        )
    doubt = " These times are in doubt: see the result." if style.doubted(summary) else ""
    return (
        f"{text} Measured: the chosen policy is {selected['accuracy']:.2%} accurate at"
        f" {selected['ms_per_sample']:.3f} ms per sample, {selected['speedup']:.2f} times as fast"
        f" as the full network ({full['accuracy']:.2%}, {full['ms_per_sample']:.3f} ms).{doubt}"
    )
