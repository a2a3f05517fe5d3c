"""Accuracy and mean exit of each class under the chosen policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style
from early_exit.statistics.intervals import wilson_interval

MOST = 20
APART = 0.14


def draw(tables: dict[str, Any]) -> Figure:
    """Two panels from ``per_class`` (the run of the chosen policy) and ``summary``."""
    summary, found = tables["summary"], _with_samples(tables["per_class"])
    shown = found.nsmallest(MOST, "accuracy", keep="first").sort_index()
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(10, 1.9 + 0.3 * len(shown)), sharey=True, width_ratios=[3, 2]
    )
    places = np.arange(len(shown))
    _accuracies(left, shown, places)
    left.set_yticks(places, [style.short(str(name)) for name in shown.class_name])
    left.set_ylim(len(shown) - 0.5, -0.5)
    # The first exit is the least: a bar would begin at nothing.
    right.hlines(places, 1, shown.mean_exit, color=style.SKY, linewidth=3, zorder=2)
    right.plot(shown.mean_exit, places, "o", color=style.BLUE, markersize=5, zorder=3)
    exits = summary["exits"]
    right.set(xlabel="mean exit (number, from 1)", xlim=(1 - 0.03 * exits, exits))
    right.set_xticks(style.spread(exits, style.MANY_EXITS))
    right.grid(axis="y", visible=False)
    which = f"the {MOST} least accurate classes" if len(found) > MOST else "each class"
    style.title(figure, f"{summary['experiment']}: accuracy and mean exit of {which}")
    style.legend(figure, left)
    return figure


def _accuracies(axes: Axes, shown: pd.DataFrame, places: np.ndarray) -> None:
    """Draw the accuracies of both with their intervals; those of few samples are grey."""
    counts = (shown.full_network * shown.samples).round().astype(int)
    full = np.array([wilson_interval(c, n) for c, n in zip(counts, shown.samples, strict=True)]).T
    enough = (shown.samples >= style.FEW).to_numpy()
    series = (
        ("full network", "black", "s", shown.full_network, *full, -APART),
        (
            *("chosen policy", style.RED, "o", shown.accuracy),
            *(shown.accuracy_low, shown.accuracy_high, APART),
        ),
    )
    for name, colour, marker, accuracy, low, high, apart in series:
        errors = style.half_widths(accuracy, low, high)
        for own, shade, words in (
            (enough, colour, f"{name}, 95 % interval"),
            (~enough, style.GREY, f"fewer than {style.FEW} samples"),
        ):
            if own.any():
                axes.errorbar(
                    100 * accuracy[own],
                    places[own] + apart,
                    xerr=errors[:, own],
                    fmt=marker,
                    color=shade,
                    markersize=4,
                    elinewidth=1.2,
                    label=words,
                )
    few = enough if enough.any() else ~enough
    lows = np.concatenate([full[0][few], shown.accuracy_low[few]])
    axes.set_xlim(*style.limits(100 * lows, 100))
    axes.set_xlabel("accuracy on test (%)")


def _with_samples(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.samples > 0].reset_index(drop=True)


def caption(tables: dict[str, Any]) -> str:
    """Classes with the lowest and highest accuracy, and with the earliest and latest mean exit."""
    found = _with_samples(tables["per_class"])
    names, accuracy, exits = found.class_name.astype(str), found.accuracy, found.mean_exit
    if len(found) == 1:
        return f"{names[0]}: accuracy {accuracy[0]:.1%}, mean exit {exits[0]:.1f}."
    worst, best = accuracy.idxmin(), accuracy.idxmax()
    early, late = exits.idxmin(), exits.idxmax()
    if f"{exits[early]:.1f}" == f"{exits[late]:.1f}":
        where = f"the mean exit of all is {exits[early]:.1f}"
    else:
        where = (
            f"{names[early]} exits earliest (mean exit {exits[early]:.1f}) and {names[late]} latest"
            f" ({exits[late]:.1f})"
        )
    return (
        f"Of {len(found)} classes, {names[worst]} has the lowest accuracy ({accuracy[worst]:.1%})"
        f" and {names[best]} the highest ({accuracy[best]:.1%}); {where}. A class to whose cost the"
        " policy saves has a red point clearly to the left of its square."
    )
