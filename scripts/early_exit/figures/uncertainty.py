"""Histograms of the uncertainty at each exit, right and wrong, with the chosen thresholds."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from early_exit.figures import style
from early_exit.policy import measure_names


def draw(tables: dict[str, Any]) -> Figure:
    """A panel for each exit, or for some of many, from ``uncertainty`` and ``summary``."""
    table, summary = tables["uncertainty"], tables["summary"]
    exits, own = summary["exits"], summary["selected"]
    figure, panels, shown = style.panels_of_exits(exits, height=2.5)
    for number, axes in zip(shown, panels.flat, strict=False):
        _panel(axes, table[table.exit == number])
        threshold = own["thresholds"][number - 1] if number < exits else None
        if isinstance(threshold, (int, float)):
            look = {"color": "black", "linewidth": 1.6, "zorder": 4}
            axes.axvline(threshold, label="chosen threshold", **look)
        axes.set_title(f"exit {number}: {_words(threshold, own['exit_rule'])}", fontsize=9.5)
    words, unit = measure_names.label(own["measure"]), measure_names.unit(own["measure"])
    for axes in panels[-1]:
        axes.set_xlabel(f"{words} ({unit})" if unit else words)
    for axes in panels[:, 0]:
        axes.set_ylabel("calibration samples")
    some = f" ({len(shown)} of {exits} exits)" if len(shown) < exits else ""
    style.title(figure, f"{summary['experiment']}: uncertainty at each exit, right and wrong{some}")
    style.legend(figure, *panels.flat[: len(shown)])
    return figure


def _words(threshold: Any, rule: str) -> str:
    if threshold is None:
        return "the rest exits"
    if isinstance(threshold, str):
        return {"never": "no sample exits", "always": "all samples exit"}[threshold]
    return f"exit {rule} {threshold:.3g}"


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw both histograms from the same base; the numbers are on a logarithmic axis."""
    edges = [*rows.low, rows.high.iloc[-1]]
    axes.stairs(rows.right, edges, fill=True, color=style.SKY, alpha=0.7, label="right")
    axes.stairs(rows.wrong, edges, color=style.RED, linewidth=1.6, label="wrong", zorder=3)
    axes.set_yscale("symlog", linthresh=1, linscale=0.4)
    most = max(1, rows.right.max(), rows.wrong.max())
    ticks = [0, *(10**n for n in range(9) if 10**n <= most)]
    axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    axes.minorticks_off()
    axes.set_ylim(0, max(1.6 * most, axes.get_ylim()[1]))


def caption(tables: dict[str, Any]) -> str:
    """Shares of wrong predictions among those that the first threshold lets exit."""
    table, own = tables["uncertainty"], tables["summary"]["selected"]
    text = (
        "An exit is good at telling its errors where the red line is low on the side on which"
        " samples exit. All calibration samples are counted at every exit, also those that an"
        " earlier exit takes; the scale of the numbers is logarithmic."
    )
    wrong = (
        table.groupby("exit").wrong.sum() / (table.right + table.wrong).groupby(table.exit).sum()
    )
    each = ", ".join(f"{share:.1%}" for share in wrong)
    return (
        f"{text} Wrong on the calibration split by the measure {own['measure']}, by exit: {each}."
    )
