"""The study: accuracy at each budget against the uniform threshold, gaps, promises and seconds."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style
from early_exit.targets import label

COLOURS = {"entropy": style.BLUE, "max_probability": style.ORANGE, "margin": style.GREEN}
SHARES = ("macs_share", "ms_share")
APART = 0.12
COLUMNS = 4


def draw(tables: dict[str, Any]) -> Figure:
    """From ``study``."""
    table = tables["study"]
    table = table.assign(
        name=[label(*t) for t in zip(table.target_kind, table.target, strict=True)]
    )
    budgets = table[table.target_kind.isin(SHARES)].name.unique().tolist()
    drops = table[table.target_kind == "drop"].name.unique().tolist()
    panels = [(name, _against_uniform) for name in budgets]
    panels += [(name, panel) for name in drops for panel in (_cost, _missed)]
    panels += [(None, panel) for panel in (_gap, _seconds)]
    lines = -(-len(panels) // COLUMNS)
    methods = table.method.unique().tolist()
    size = (15, lines * (1.4 + 0.42 * len(methods)))
    figure, places = pyplot.subplots(lines, COLUMNS, figsize=size, sharey=True, squeeze=False)
    for axes, (name, panel) in zip(places.flat, panels, strict=False):
        panel(axes, table if name is None else table[table.name == name], methods, name)
    for axes in places.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in places[:, 0]:
        axes.set_yticks(range(len(methods)), methods)
        axes.set_ylim(len(methods) - 0.5, -0.5)
    _legend(figure, table)
    count = table.splits.max()
    figure.suptitle(f"{tables['experiment']}: methods on {count} splits, of which bars hold 95 %")
    return figure


def _signals(table: pd.DataFrame) -> list[tuple[str, bool]]:
    return list(table[["measure", "scaled"]].drop_duplicates().itertuples(index=False, name=None))


def _dots(
    axes: Axes,
    rows: pd.DataFrame,
    methods: list[str],
    column: str,
    factor: float = 100,
    interval: bool = False,
) -> None:
    """A dot for each method, measure and scaling; hollow where temperatures are fitted."""
    signals = _signals(rows)
    for number, (measure, scaled) in enumerate(signals):
        own = rows[(rows.measure == measure) & (rows.scaled == scaled)]
        places = [methods.index(m) + APART * (number - len(signals) / 2 + 0.5) for m in own.method]
        colour = COLOURS.get(measure, style.GREY)
        if interval:
            low, high = 100 * own[f"{column}_low"], 100 * own[f"{column}_high"]
            axes.hlines(places, low, high, color=colour, linewidth=1, alpha=0.6)
        face = "white" if scaled else colour
        axes.plot(
            factor * own[column], places, "o", color=colour, markerfacecolor=face, markersize=4
        )


def _against_uniform(axes: Axes, rows: pd.DataFrame, methods: list[str], name: str) -> None:
    _dots(axes, rows, methods, "against_uniform", interval=True)
    axes.axvline(0, color="black", linewidth=1)
    # Far outliers are told by the table.
    axes.set_xlim(left=max(axes.get_xlim()[0], -3.5))
    axes.set(title=f"budget {name}", xlabel="accuracy less uniform's (points)")


def _cost(axes: Axes, rows: pd.DataFrame, methods: list[str], name: str) -> None:
    _dots(axes, rows, methods, "cost")
    axes.set(title=f"asked for: {name}", xlabel="cost of the whole network's (%)")


def _missed(axes: Axes, rows: pd.DataFrame, methods: list[str], name: str) -> None:
    _dots(axes, rows, methods, "missed")
    axes.set(title=f"{name} exceeded", xlabel="splits (%)", xlim=(-3, 103))


def _gap(axes: Axes, rows: pd.DataFrame, methods: list[str], name: None) -> None:
    budgets = rows[rows.target_kind.isin(SHARES)]
    mean = budgets.groupby(["measure", "scaled", "method"], sort=False).optimality_gap.mean()
    _dots(axes, mean.reset_index(), methods, "optimality_gap")
    axes.axvline(0, color="black", linewidth=1)
    axes.set_xlim(right=min(axes.get_xlim()[1], 3.5))
    axes.set(title="optimality gap, mean over budgets", xlabel="calibration accuracy (points)")


def _seconds(axes: Axes, rows: pd.DataFrame, methods: list[str], name: None) -> None:
    mean = rows.groupby(["measure", "scaled", "method"], sort=False).seconds.median()
    _dots(axes, mean.reset_index(), methods, "seconds", 1)
    axes.set_xscale("log")
    axes.set(title="time for all targets of a split", xlabel="seconds")


def _legend(figure: Figure, table: pd.DataFrame) -> None:
    handles = [
        pyplot.Line2D(
            [],
            [],
            marker="o",
            linestyle="",
            color=(c := COLOURS.get(measure, style.GREY)),
            markerfacecolor="white" if scaled else c,
            label=measure + (", temperatures fitted" if scaled else ""),
        )
        for measure, scaled in _signals(table)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def caption(tables: dict[str, Any]) -> str:
    """The best method at each budget, and how often drops were exceeded."""
    table = tables["study"]
    budgets = table[table.target_kind.isin(SHARES)]
    parts = []
    for target, rows in budgets.groupby("target"):
        best = rows.loc[rows.accuracy.idxmax()]
        signal = best.measure + (" scaled" if best.scaled else "")
        asked = label(best.target_kind, target)
        parts.append(f"at {asked} {best.method} with {signal} ({best.accuracy:.2%})")
    text = f"Most accurate over {table.splits.max()} splits: {'; '.join(parts)}."
    drops = table[table.target_kind == "drop"].groupby("method").missed.mean()
    if len(drops):
        worst, best = drops.idxmax(), drops.idxmin()
        text += (
            f" Asked for a drop, {worst} exceeded it in {drops[worst]:.0%} of the splits, {best} in"
            f" {drops[best]:.0%}."
        )
    return text
