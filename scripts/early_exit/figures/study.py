"""The study: methods relative to one uniform threshold, missed targets, gaps and times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.calibration.targets import label
from early_exit.figures import style

SHARES = ("macs_share", "ms_share")
APART = 0.12
COLUMNS = 4


def draw(tables: dict[str, Any]) -> Figure:
    """Panels for each target, the optimality gap and the time, from ``study``."""
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
    figure, grid = pyplot.subplots(lines, COLUMNS, figsize=size, sharey=True, squeeze=False)
    for axes, (name, panel) in zip(grid.flat, panels, strict=False):
        panel(axes, table if name is None else table[table.name == name], methods, name)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_yticks(range(len(methods)), methods)
        axes.set_ylim(len(methods) - 0.5, -0.5)
    _legend(figure, table)
    count = table.splits.max()
    style.title(
        figure, f"{tables['experiment']}: methods on {count} splits (bars hold 95 % of the splits)"
    )
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
    """Draw a dot for each method, measure and scaling; hollow with fitted temperatures."""
    signals = _signals(rows)
    for number, (measure, scaled) in enumerate(signals):
        own = rows[(rows.measure == measure) & (rows.scaled == scaled)]
        positions = [
            methods.index(m) + APART * (number - len(signals) / 2 + 0.5) for m in own.method
        ]
        colour = style.MEASURE_COLOURS.get(measure, style.GREY)
        if interval:
            low, high = 100 * own[f"{column}_low"], 100 * own[f"{column}_high"]
            axes.hlines(positions, low, high, color=colour, linewidth=1, alpha=0.6)
        face = "white" if scaled else colour
        axes.plot(
            factor * own[column], positions, "o", color=colour, markerfacecolor=face, markersize=4
        )


def _against_uniform(axes: Axes, rows: pd.DataFrame, methods: list[str], name: str) -> None:
    _dots(axes, rows, methods, "against_uniform", interval=True)
    axes.axvline(0, color="black", linewidth=1)
    # Far outliers are in the table alone.
    axes.set_xlim(left=max(axes.get_xlim()[0], -3.5))
    axes.set(title=f"target: {name}", xlabel="accuracy minus uniform's (points)")


def _cost(axes: Axes, rows: pd.DataFrame, methods: list[str], name: str) -> None:
    _dots(axes, rows, methods, "cost")
    axes.set(title=f"target: {name}", xlabel="cost (% of the full network)")


def _missed(axes: Axes, rows: pd.DataFrame, methods: list[str], name: str) -> None:
    _dots(axes, rows, methods, "missed")
    axes.set(title=f"target missed: {name}", xlabel="splits (%)", xlim=(-3, 103))


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
    low, high = axes.get_xlim()
    # Whole powers of ten, at least two: the ticks between would overlap.
    axes.set_xlim(10 ** np.floor(np.log10(low)), 10 ** np.ceil(np.log10(high)))
    axes.minorticks_off()
    axes.set(title="time for all targets of a split", xlabel="seconds")


def _legend(figure: Figure, table: pd.DataFrame) -> None:
    handles = [
        pyplot.Line2D(
            [],
            [],
            marker="o",
            linestyle="",
            color=(c := style.MEASURE_COLOURS.get(measure, style.GREY)),
            markerfacecolor="white" if scaled else c,
            label=measure + (", temperatures fitted" if scaled else ""),
        )
        for measure, scaled in _signals(table)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def caption(tables: dict[str, Any]) -> str:
    """The best method for each budget, and how often target drops are exceeded."""
    table = tables["study"]
    budgets = table[table.target_kind.isin(SHARES)]
    parts = []
    for target, rows in budgets.groupby("target"):
        best = rows.loc[rows.accuracy.idxmax()]
        signal = best.measure + (" scaled" if best.scaled else "")
        asked = label(best.target_kind, target)
        parts.append(f"{asked}, {best.method} with {signal} ({best.accuracy:.2%})")
    text = (
        "Left of the black line: less accurate than one threshold for all exits on the same split. "
    )
    text += f"Most accurate in the mean of {table.splits.max()} splits: {'; '.join(parts)}."
    drops = table[table.target_kind == "drop"].groupby("method").missed.mean()
    if len(drops):
        worst, best = drops.idxmax(), drops.idxmin()
        text += (
            f" A target drop is exceeded most often by {worst} ({drops[worst]:.0%} of the splits),"
            f" least often by {best} ({drops[best]:.0%})."
        )
    return text
