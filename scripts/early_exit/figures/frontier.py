"""Accuracy against cost for all methods: the picture of what early exit is worth.

Left the policies as they come out on test; right how far each method lies from the exact grid at
the same budget, and how much of its calibration accuracy is lost on test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from early_exit.figures import style
from early_exit.frontier import AS_PUBLISHED, CORRECTED, WHOLE

EXACT = "exact_grid"
# Colour, marker and line of each method; others take what is left.
LOOKS = {
    EXACT: ("black", "", "-"),
    "coordinate": (style.BLUE, "o", "-"),
    "dynamic_programming": (style.GREEN, "^", "-"),
    "distribution": (style.SKY, "D", "-"),
    "accuracy_target": (style.ORANGE, "v", "-"),
    "uniform": (style.PINK, "s", "-"),
    "percentile": (style.GREY, "x", ":"),
    "certified": (style.YELLOW, "P", ""),
    "certified_path": (style.YELLOW, "*", ""),
}
OTHER = (style.GREY, "+", "--")
TICKS = [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0]
SHARES = {"macs_share": "MACs", "ms_share": "time"}
# Points; what lies lower would leave the others no room.
LARGEST_LOSS = 2.2
SMALL = {"markersize": 4, "linewidth": 1.2, "alpha": 0.9}


def draw(tables: dict[str, Any]) -> Figure:
    """From ``frontier``: policies found on calibration, measured on test."""
    table, words = _shares(tables["frontier"])
    figure, panels = pyplot.subplot_mosaic(
        [["front", "gap"], ["front", "loss"]], figsize=(13, 7), width_ratios=(1.5, 1)
    )
    _front(panels["front"], table, words)
    _gap(panels["gap"], table)
    _loss(panels["loss"], table)
    for axes in panels.values():
        axes.set_xscale("log")
        axes.set_xticks(TICKS, [f"{100 * t:g} %" for t in TICKS])
        axes.minorticks_off()
        axes.set_xlim(0.9 * table.share.min(), 1.15)
    figure.legend(*panels["front"].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle(f"{tables['experiment']}: accuracy against cost, chosen on calibration")
    return figure


def _shares(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The table with the cost, as a share of the whole network's, in ``share``; and of what."""
    kind = next(name for name in SHARES if name in table)
    own = {"share": table[kind], "calibration_share": table[f"calibration_{kind}"]}
    return table.assign(**own), SHARES[kind]


def by_budget(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """A method's policies for the budgets, from small to large."""
    rows = table[(table.method == method) & (table.target_kind.isin(SHARES))]
    return rows.sort_values("target")


def methods(table: pd.DataFrame) -> list[str]:
    """The methods that were asked for budgets, the exact grid first."""
    found = table[table.target_kind.isin(SHARES)].method.unique().tolist()
    return sorted(found, key=lambda name: name != EXACT)


def _front(axes: Axes, table: pd.DataFrame, words: str) -> None:
    for method in methods(table):
        rows = by_budget(table, method)
        colour, marker, line = LOOKS.get(method, OTHER)
        axes.plot(
            rows.share,
            100 * rows.accuracy,
            line,
            marker=marker,
            color=colour,
            label=_words(method),
            **SMALL,
        )
    exact = by_budget(table, methods(table)[0]) if methods(table) else table[:0]
    axes.fill_between(
        exact.share,
        100 * exact.accuracy_low,
        100 * exact.accuracy_high,
        color=style.GREY,
        alpha=0.2,
        linewidth=0,
        label="95 % interval of the first",
    )
    axes.plot(
        exact.calibration_share,
        100 * exact.calibration_accuracy,
        ":",
        color="black",
        linewidth=1.2,
        label="the first on calibration, where it was chosen",
    )
    for method, rows in table[table.target_kind == "drop"].groupby("method"):
        colour, marker, _ = LOOKS.get(method, OTHER)
        _certified(axes, rows, method, colour, marker)
    for name, colour, marker in ((AS_PUBLISHED, style.RED, "X"), (CORRECTED, style.GREEN, "X")):
        _point(axes, table, name, colour, marker)
    _point(axes, table, WHOLE, "black", "s")
    axes.set(
        xlabel=f"{words} per picture, of the whole network's (test)", ylabel="accuracy on test (%)"
    )


def _certified(axes: Axes, rows: pd.DataFrame, method: str, colour: str, marker: str) -> None:
    axes.plot(
        rows.share,
        100 * rows.accuracy,
        marker,
        color=colour,
        markeredgecolor="black",
        markersize=11,
        label=f"{method}, with the drop promised",
        zorder=5,
    )
    for number, ((share, accuracy), group) in enumerate(rows.groupby(["share", "accuracy"])):
        drops = ", ".join(f"{100 * drop:g}" for drop in group.target)
        axes.annotate(
            f"{drops} %",
            (share, 100 * accuracy),
            # Neighbours are labelled on different sides.
            xytext=(0, 9) if number % 2 else (0, -18),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            bbox=style.CLEAR,
        )


def _point(axes: Axes, table: pd.DataFrame, name: str, colour: str, marker: str) -> None:
    row = table[table.method == name].iloc[0]
    half = [[100 * (row.accuracy - row.accuracy_low)], [100 * (row.accuracy_high - row.accuracy)]]
    axes.errorbar(
        row.share,
        100 * row.accuracy,
        yerr=half,
        fmt=marker,
        color=colour,
        markeredgecolor="black",
        markersize=10,
        capsize=3,
        label=f"{name} ({row.accuracy:.1%})",
        zorder=6,
    )


def _gap(axes: Axes, table: pd.DataFrame) -> None:
    """Accuracy on test at the same budget, less the first method's."""
    first, *others = methods(table) or [None]
    if first is None:
        return
    reference = by_budget(table, first).set_index("target").accuracy
    least = 0.0
    for method in others:
        rows = by_budget(table, method)
        colour, marker, line = LOOKS.get(method, OTHER)
        gap = 100 * (rows.accuracy.to_numpy() - reference.reindex(rows.target).to_numpy())
        axes.plot(rows.target, gap, line, marker=marker, color=colour, **SMALL)
        least = min(least, np.nanmin(gap, initial=0.0))
    axes.axhline(0, color="black", linewidth=1.2)
    axes.set_ylim(-LARGEST_LOSS, 1.1)
    # On a line of its own: beside it, the longest name of a method would push it off the figure.
    below = f"\n(below -{LARGEST_LOSS} not shown)" if least < -LARGEST_LOSS else ""
    axes.set(title=f"accuracy on test less that of {first} (points){below}", xlabel="budget")


def _loss(axes: Axes, table: pd.DataFrame) -> None:
    """What calibration promised and test did not keep."""
    whole = table[table.method == WHOLE].iloc[0]
    for method in methods(table):
        rows = by_budget(table, method)
        colour, marker, line = LOOKS.get(method, OTHER)
        loss = 100 * (rows.calibration_accuracy - rows.accuracy)
        axes.plot(rows.target, loss, line, marker=marker, color=colour, **SMALL)
    level = 100 * (whole.calibration_accuracy - whole.accuracy)
    axes.axhline(level, color="black", linestyle=":", linewidth=1.2, label="whole network")
    axes.set(title="accuracy on calibration less that on test (points)", xlabel="budget")
    axes.yaxis.set_major_formatter(PercentFormatter(symbol=""))
    axes.legend(loc="best", fontsize=8)


def _words(method: str) -> str:
    return f"{method} (every policy of a grid)" if method == EXACT else method


def caption(tables: dict[str, Any]) -> str:
    """How much of the cost half a point of accuracy saves, and the published policy beside it."""
    table, words = _shares(tables["frontier"])
    whole = table[table.method == WHOLE].iloc[0]
    published = table[table.method == AS_PUBLISHED].iloc[0]
    enough = table[
        table.target_kind.isin(SHARES)
        & (table.calibration_accuracy >= whole.calibration_accuracy - 0.005)
    ]
    text = f"The whole network is right on {whole.accuracy:.2%}."
    if len(enough):
        best = enough.loc[enough.calibration_share.idxmin()]
        text += (
            f" Half a point less on calibration costs {best.share:.0%} of the {words} by"
            f" {best.method}, which is right on {best.accuracy:.2%} of the test pictures."
        )
    at = table[table.target_kind.isin(SHARES)].groupby("method").accuracy.mean()
    spread = (
        "" if at.empty else f" Over all budgets the best mean is {at.idxmax()}'s, {at.max():.2%}."
    )
    return (
        f"{text}{spread} The published policy for a desired accuracy of 0.8 comes to"
        f" {published.accuracy:.2%} at {published.share:.0%} of the {words}."
    )
