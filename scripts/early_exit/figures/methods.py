"""Calibration methods and measures compared over all budgets of the frontier."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.analysis.best_measures import best_measures
from early_exit.figures import style
from early_exit.figures.frontier import by_budget, methods, with_shares

# Limit of the axis, in points: outliers would squeeze the others.
LARGEST_LOSS = 4.0


def draw(tables: dict[str, Any]) -> Figure:
    """Two or, with several measures, three panels from ``frontier``; a row for each method."""
    every, _ = with_shares(tables["frontier"])
    table = best_measures(every, "calibration_share")
    found = methods(table)
    measures = list(every[every.target_kind.notna()].measure.unique()) if found else []
    panels = [_gaps(table, found), _losses(table, found)]
    if len(measures) > 1:
        panels.append(_by_measure(every, found[0], measures))
    rows = max(len(found), len(measures), 1)
    figure, grid = pyplot.subplots(
        1, len(panels), figsize=(0.8 + 4.4 * len(panels), 2.0 + 0.36 * rows), squeeze=False
    )
    for axes, (title, axis, values) in zip(grid[0], panels, strict=True):
        beyond = _ranges(axes, values)
        axes.set_title(title)
        axes.set_xlabel(axis + (f"\n(beyond {LARGEST_LOSS:g} not shown)" if beyond else ""))
    style.title(figure, f"{tables['experiment']}: calibration methods over all budgets")
    style.legend(figure, grid[0, 0])
    return figure


Panel = tuple[str, str, dict[str, pd.Series]]


def _gaps(table: pd.DataFrame, found: list[str]) -> Panel:
    """Test accuracy of each method minus that of the first, at each budget, in points."""
    first = by_budget(table, found[0]).set_index("target").accuracy if found else None
    gaps = {
        name: 100 * (by_budget(table, name).set_index("target").accuracy - first).dropna()
        for name in found
    }
    of = f"against {found[0]}" if found else "of methods"
    return f"Test accuracy {of}", "difference (points)", gaps


def _losses(table: pd.DataFrame, found: list[str]) -> Panel:
    """Calibration minus test accuracy of each method, at each budget, in points."""
    losses = {}
    for name in found:
        rows = by_budget(table, name)
        losses[name] = 100 * (rows.calibration_accuracy - rows.accuracy)
    return "Optimism: calibration minus test", "accuracy (points)", losses


def _by_measure(table: pd.DataFrame, method: str, measures: list[str]) -> Panel:
    """Test accuracy of a method by each measure minus that by the first, in points."""
    own = {
        name: by_budget(table[table.measure == name], method).set_index("target").accuracy
        for name in measures
    }
    gaps = {name: 100 * (values - own[measures[0]]).dropna() for name, values in own.items()}
    return f"{method}: accuracy against {measures[0]}", "difference (points)", gaps


def _ranges(axes: Axes, values: dict[str, pd.Series]) -> bool:
    """Draw the mean of each row's values, and a line from the least to the largest.

    Returns whether some are beyond the axis.
    """
    for place, own in enumerate(values.values()):
        if len(own):
            axes.hlines(place, own.min(), own.max(), color=style.SKY, linewidth=3, zorder=2)
            axes.plot(own.mean(), place, "o", color=style.BLUE, markersize=5, zorder=3)
    axes.plot([], [], "o", color=style.BLUE, markersize=5, label="mean over the budgets")
    axes.plot([], [], color=style.SKY, linewidth=3, label="least to largest")
    axes.axvline(0, color="black", linewidth=0.8, zorder=1)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(max(len(values), 1) - 0.5, -0.5)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -LARGEST_LOSS), min(high, LARGEST_LOSS))
    axes.grid(axis="y", visible=False)
    if not values:
        where = {"transform": axes.transAxes, "ha": "center", "va": "center", "color": style.GREY}
        axes.text(0.5, 0.5, "no method takes budgets", **where)
    return low < -LARGEST_LOSS or high > LARGEST_LOSS


def caption(tables: dict[str, Any]) -> str:
    """The best method in the mean over all budgets."""
    every, _ = with_shares(tables["frontier"])
    table = best_measures(every, "calibration_share")
    found = methods(table)
    if not found:
        return "No method of this experiment takes budgets, so 0 % of the budgets are compared."
    means = {name: by_budget(table, name).accuracy.mean() for name in found}
    best = max(means, key=means.__getitem__)
    return (
        "Left: what a method loses on test against the first row at the same budget; right of it,"
        " how much too good its policies look on the calibration split. The best mean test accuracy"
        f" over all budgets is {means[best]:.2%} ({best}); {found[0]} has {means[found[0]]:.2%}."
    )
