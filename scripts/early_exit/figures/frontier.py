"""Accuracy against cost on the test split: policies of each method, and the chosen one.

Three methods are drawn in front: the reference, that of the chosen policy, and one threshold for
all exits. The others are thin and grey. Of several measures, a method has at each budget the one
that is best on calibration.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.analysis.best_measures import best_measures
from early_exit.analysis.frontier import AS_PUBLISHED, CORRECTED, FULL_NETWORK
from early_exit.figures import style

EXACT = "exact_grid"
TICKS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0]
SHARES = {"macs_share": "MACs", "ms_share": "time"}
COSTS = {"macs_share": "macs", "ms_share": "ms_per_sample"}
# The grid stays the reference while it is at most this many points behind the best method.
COARSE = 0.3
IN_FRONT = 3
# Colours and markers of the published policy under both rules.
PUBLISHED = {AS_PUBLISHED: (style.RED, "d"), CORRECTED: (style.GREEN, "d")}


def draw(tables: dict[str, Any]) -> Figure:
    """One panel from ``frontier`` and ``summary``.

    ``published`` says whether the network is the published one: the published policy is drawn.
    """
    every, words = with_shares(tables["frontier"])
    table, summary = best_measures(every, "calibration_share"), tables["summary"]
    figure, axes = pyplot.subplots(figsize=(8.6, 6.2))
    _front(axes, table, summary["selected"]["method"])
    if tables.get("published"):
        for name in PUBLISHED:
            _published(axes, table, name)
    own, full = summary["selected"], summary["full_network"]
    cost = "macs" if words == "MACs" else "ms_per_sample_predicted"
    style.mark_chosen(axes, own[cost] / full[cost], 100 * own["accuracy"])
    log_shares(axes, table)
    predicted = ", predicted" if words == "time" and not summary["simulated"] else ""
    axes.set(
        xlabel=f"{words} per sample on test (% of the full network{predicted})",
        ylabel="accuracy on test (%)",
    )
    style.title(figure, f"{tables['experiment']}: accuracy against cost of the calibration methods")
    style.legend(figure, axes, columns=3)
    return figure


def accuracy_against_cost(axes: Axes, frontier: pd.DataFrame) -> None:
    """Draw policies that were measured on some split, without a chosen one."""
    every, words = with_shares(frontier)
    table = best_measures(every, "calibration_share")
    _front(axes, table, None)
    log_shares(axes, table)
    axes.set_xlabel(f"{words} per sample (% of the full network)")


def log_shares(axes: Axes, table: pd.DataFrame) -> None:
    """A logarithmic axis of shares of the full network's cost, with ticks in percent."""
    least = 0.9 * table.share.min()
    axes.set_xscale("log")
    axes.set_xticks(shown := [t for t in TICKS if t >= least], [f"{100 * t:g}" for t in shown])
    axes.minorticks_off()
    axes.set_xlim(least, 1.15)


def with_shares(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The table with the cost relative to the full network in ``share``, and the cost's name.

    Policies that were not measured on another split (``policies``) have one cost, on calibration.
    """
    kind = next((name for name in SHARES if name in table), None)
    if kind is None:
        kind, cost = next((k, c) for k, c in COSTS.items() if table[c].notna().any())
        full = table[table.method == FULL_NETWORK].iloc[0]
        on_calibration = {f"calibration_{kind}": table[cost] / full[cost]}
        table = table.assign(**on_calibration, calibration_accuracy=table.accuracy)
        table[kind] = table[f"calibration_{kind}"]
    own = {"share": table[kind], "calibration_share": table[f"calibration_{kind}"]}
    return table.assign(**own), SHARES[kind]


def by_budget(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """A method's policies for budgets, by ascending budget."""
    rows = table[(table.method == method) & (table.target_kind.isin(SHARES))]
    return rows.sort_values("target")


def methods(table: pd.DataFrame) -> list[str]:
    """The methods that have policies for budgets, the reference first.

    The reference is the exact grid, unless another method is clearly better on calibration.
    """
    budgets = table[table.target_kind.isin(SHARES)]
    means = 100 * budgets.groupby("method", sort=False).calibration_accuracy.mean()
    if means.empty:
        return []
    first = EXACT if means.get(EXACT, -1) >= means.max() - COARSE else means.idxmax()
    return sorted(means.index, key=lambda name: name != first)


def in_front(found: list[str], chosen: str | None) -> list[str]:
    """The methods drawn in front, of those that ``found`` lists with the reference first."""
    wanted = [*found[:1], chosen, "uniform", "coordinate", *found]
    return [name for name in dict.fromkeys(wanted) if name in found][:IN_FRONT]


def _front(axes: Axes, table: pd.DataFrame, chosen: str | None) -> None:
    found = methods(table)
    shown = in_front(found, chosen)
    others = [name for name in found if name not in shown]
    for number, method in enumerate(others):
        rows = by_budget(table, method)
        # One entry in the legend for all.
        label = f"others: {', '.join(others)}" if number == 0 else None
        axes.plot(
            rows.share, 100 * rows.accuracy, color="#B5B5B5", linewidth=0.9, label=label, zorder=1
        )
    for method in shown:
        rows = by_budget(table, method)
        colour, marker, line = style.METHODS.get(method, style.OTHER)
        colour = "black" if method == EXACT else colour
        look = {"marker": marker, "markersize": 4, "linewidth": 1.5, "color": colour}
        words = f"{method} (exhaustive)" if method == EXACT else method
        axes.plot(rows.share, 100 * rows.accuracy, line or "-", label=words, zorder=2, **look)
    for reference in shown[:1]:
        _reference(axes, by_budget(table, reference), reference)
    for method, rows in table[table.target_kind == "drop"].groupby("method"):
        _certified(axes, rows, method)
    full = table[table.method == FULL_NETWORK].iloc[0]
    axes.axhline(100 * full.accuracy, color="black", linewidth=0.8, linestyle=":", zorder=1)
    style.mark_full_network(axes, full.share, 100 * full.accuracy)


def _reference(axes: Axes, rows: pd.DataFrame, method: str) -> None:
    axes.fill_between(
        rows.share,
        100 * rows.accuracy_low,
        100 * rows.accuracy_high,
        color=style.GREY,
        alpha=0.2,
        linewidth=0,
        label=f"{method}, 95 % interval",
        zorder=0,
    )
    axes.plot(
        rows.calibration_share,
        100 * rows.calibration_accuracy,
        ":",
        color="black",
        linewidth=1.2,
        label=f"{method}, on calibration (optimistic)",
        zorder=1,
    )


def _certified(axes: Axes, rows: pd.DataFrame, method: str) -> None:
    colour, marker, _ = style.METHODS.get(method, style.OTHER)
    drops = ", ".join(f"{100 * drop:g}" for drop in sorted(rows.target.unique()))
    axes.plot(
        rows.share,
        100 * rows.accuracy,
        marker or "X",
        color=colour,
        markeredgecolor="black",
        markeredgewidth=0.6,
        markersize=8,
        linestyle="",
        label=f"{method} (certified drop: {drops} points)",
        zorder=3,
    )


def _published(axes: Axes, table: pd.DataFrame, name: str) -> None:
    row = table[table.method == name].iloc[0]
    colour, marker = PUBLISHED[name]
    axes.errorbar(
        row.share,
        100 * row.accuracy,
        yerr=style.half_widths([row.accuracy], [row.accuracy_low], [row.accuracy_high]),
        fmt=marker,
        color=colour,
        markeredgecolor="black",
        markersize=9,
        elinewidth=1,
        label=f"{name} ({row.accuracy:.1%})",
        zorder=3,
    )


def caption(tables: dict[str, Any]) -> str:
    """What to see, the cheapest policy within half a point, and the published policy."""
    every, words = with_shares(tables["frontier"])
    table = best_measures(every, "calibration_share")
    full = table[table.method == FULL_NETWORK].iloc[0]
    enough = table[
        table.target_kind.isin(SHARES)
        & (table.calibration_accuracy >= full.calibration_accuracy - 0.005)
    ]
    text = (
        "Up and to the left is better. Each point is a policy chosen on the calibration split and"
        f" evaluated on the test split. The full network is {full.accuracy:.2%} accurate."
    )
    if len(enough):
        best = enough.loc[enough.calibration_share.idxmin()]
        text += (
            f" The cheapest policy within 0.5 points of it on calibration ({best.method}) takes"
            f" {best.share:.0%} of the {words} and is {best.accuracy:.2%} accurate on test."
        )
    if tables.get("published"):
        row = table[table.method == AS_PUBLISHED].iloc[0]
        text += (
            f" The published policy for a desired accuracy of 0.8 reaches {row.accuracy:.2%} at"
            f" {row.share:.0%} of the {words}."
        )
    return text
