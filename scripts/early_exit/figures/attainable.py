"""What can be asked for: accuracy against cost on the calibration split, for any choice of a floor.

Nothing of it depends on a chosen policy, so that it is there when no policy reaches the floor.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from early_exit.analysis.best_measures import best_measures
from early_exit.analysis.frontier import FULL_NETWORK
from early_exit.figures import style
from early_exit.figures.frontier import by_budget, in_front, log_shares, methods, with_shares
from early_exit.statistics.intervals import wilson_interval


def draw(tables: dict[str, Any]) -> Figure:
    """One panel from ``policies``, the frontier's before they are evaluated."""
    table, words = _best(tables)
    figure, axes = pyplot.subplots(figsize=(8.6, 5.6))
    found = methods(table)
    for number, method in enumerate(in_front(found, None)):
        rows = by_budget(table, method)
        colour, marker, line = style.METHODS.get(method, style.OTHER)
        look = {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.4}
        axes.plot(rows.share, 100 * rows.accuracy, line or "-", label=method, **look)
        if number == 0:
            low, high = _intervals(rows)
            look = {"color": style.GREY, "alpha": 0.2, "linewidth": 0, "zorder": 0}
            axes.fill_between(rows.share, low, high, label=f"{method}, 95 % interval", **look)
    full = table[table.method == FULL_NETWORK].iloc[0]
    axes.axhline(100 * full.accuracy, color="black", linewidth=0.8, linestyle=":", zorder=1)
    style.mark_full_network(axes, full.share, 100 * full.accuracy)
    log_shares(axes, table)
    axes.set(
        xlabel=f"{words} per sample on calibration (% of the full network)",
        ylabel="accuracy on calibration (%)",
    )
    style.title(figure, f"{tables['experiment']}: what can be asked for, on the calibration split")
    style.legend(figure, axes, columns=3)
    return figure


def _best(tables: dict[str, Any]) -> tuple[pd.DataFrame, str]:
    """The best policies with their cost relative to the full network, and the cost's name."""
    table, words = with_shares(tables["policies"])
    return best_measures(table, "calibration_share"), words


def _intervals(rows: pd.DataFrame) -> tuple[list[float], list[float]]:
    """95 % Wilson intervals of the accuracies, in percent."""
    found = [wilson_interval(c, n) for c, n in zip(rows.correct, rows.samples, strict=True)]
    return [100 * low for low, _ in found], [100 * high for _, high in found]


def caption(tables: dict[str, Any]) -> str:
    """The accuracies that some costs buy, on the calibration split."""
    table, words = _best(tables)
    full = table[table.method == FULL_NETWORK].iloc[0]
    text = (
        "A floor of accuracy can be chosen here: these are calibration samples. They flatter:"
        " policies were chosen among many by the same samples, so leave some room. The full"
        f" network is {full.accuracy:.2%} accurate on them."
    )
    found = methods(table)
    if not found:
        return text
    rows = by_budget(table, found[0])
    some = rows.iloc[[0, len(rows) // 2, -1]].drop_duplicates("share")
    each = ", ".join(f"{row.accuracy:.2%} at {row.share:.0%}" for row in some.itertuples())
    return f"{text} {found[0]} has {each} of the {words}."
