"""Shared style of the figures: colour-blind-safe colours, settings, marks and axis labels.

One set of marks: a star is the chosen policy, a square the full network, nothing else is either.
Grey is what tells little: other series, and numbers of fewer than :data:`FEW` samples.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.analysis.times import doubted
from early_exit.policy import measure_names, units
from early_exit.policy.units import NAMES, RELATIVE, size_of

# Okabe and Ito's palette.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
RED, SKY, YELLOW, GREY = "#D55E00", "#56B4E9", "#F0E442", "#8A8A8A"
RULE_COLOURS = {"below": BLUE, "above": ORANGE}

SETTINGS = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "early-exit",
    "svg.fonttype": "none",
}

ACCURACY = "accuracy (%)"
# An accuracy of fewer samples tells little: it is grey, and stretches no axis.
FEW = 30

# Colour, marker and line style of each calibration method; OTHER for methods that are not listed.
METHODS = {
    "exact_grid": (GREY, "x", "-"),
    "coordinate": (BLUE, "o", "-"),
    "dynamic_programming": (GREEN, "^", "-"),
    "distribution": (SKY, "D", "-"),
    "accuracy_target": (ORANGE, "v", "-"),
    "uniform": (PINK, "h", "-"),
    "percentile": (RED, "<", "-"),
    "certified": (YELLOW, "P", ""),
    "certified_path": ("#9A8700", "X", ""),
}
OTHER = (GREY, "+", "--")


@contextmanager
def styled() -> Iterator[None]:
    """Context in which figures are drawn with this style; matplotlib's own is restored."""
    with pyplot.rc_context(SETTINGS):
        yield


def exit_colours(exits: int) -> list:
    """One colour per exit, light for the first, dark for the last."""
    shades = pyplot.get_cmap("viridis_r")
    return [shades(0.08 + 0.87 * k / max(1, exits - 1)) for k in range(exits)]


# With more exits there is no room for words and numbers at each.
MANY_EXITS = 8
# More entries than this would fill the figure.
MOST_IN_LEGEND = 12


# Panels in a line.
PANELS = 3


def spread(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers 1 to ``count``, evenly spread, both ends among them."""
    step = max(1.0, (count - 1) / max(1, most - 1))
    return sorted({round(1 + step * n) for n in range(min(count, most))})


def panels_of_exits(exits: int, height: float) -> tuple[Figure, np.ndarray, list[int]]:
    """A figure with a panel for each exit, or for some of many, three in a line.

    Parameters
    ----------
    height
        Of a line of panels, in inches.

    Returns
    -------
    tuple
        The figure, the panels (lines, columns), of which those left over are hidden, and the
        numbers of the exits shown.
    """
    shown = spread(exits, MOST_IN_LEGEND)
    columns = min(PANELS, len(shown))
    lines = -(-len(shown) // columns)
    size = (max(7.0, 3.6 * columns), height * lines + 1.2)
    figure, panels = pyplot.subplots(
        lines, columns, figsize=size, sharex=True, sharey=True, squeeze=False
    )
    for axes in panels.flat[len(shown) :]:
        axes.set_visible(False)
    return figure, panels, shown


MEASURE_COLOURS = {
    "entropy": BLUE,
    "max_probability": ORANGE,
    "margin": GREEN,
    "ensemble": PINK,
    "gate": SKY,
    "class_thresholds": YELLOW,
    "patient_margin": RED,
}


def threshold_unit(measure: str) -> str:
    """The label of a threshold's axis."""
    unit = measure_names.unit(measure)
    return f"threshold ({unit})" if unit else f"threshold on {measure_names.label(measure)}"


def rule_words(rule: str, measure: str) -> str:
    """Legend label of an exit rule."""
    return f"exit when {measure_names.label(measure)} is {rule} the threshold"


def time_axis(how: str, summary: dict[str, Any]) -> str:
    """Label of an axis of times, which are ``predicted`` or ``measured``; says so if in doubt."""
    return f"time per sample (ms, {how}{', in doubt' if doubted(summary) else ''})"


def batches(summary: dict[str, Any]) -> str:
    """Batch size and threads of the times."""
    timing = summary["timing"]
    if summary["simulated"]:
        return "from external costs"
    threads = "1 thread" if timing["threads"] == 1 else f"{timing['threads']} threads"
    return f"in batches of {timing['batch_size']}, {threads}"


class Cost(NamedTuple):
    """The cost that a figure shows: its column, scaling factor, name, axis label and doubt."""

    column: str
    factor: float
    name: str
    axis: str
    in_doubt: bool = False


def cost_shown(table: pd.DataFrame, summary: dict[str, Any]) -> Cost:
    """Time; or MACs, scaled by their magnitude, if a table of operating points has no times."""
    if table.ms_per_sample.notna().any():
        if summary.get("simulated", True):
            return Cost("ms_per_sample", 1, "time", "time per sample (ms)")
        axis = time_axis("predicted", summary)
        return Cost("ms_per_sample", 1, "time", axis, doubted(summary))
    return macs_shown(table.macs, summary)


def macs_shown(macs: pd.Series, summary: dict[str, Any]) -> Cost:
    """MACs, scaled by their magnitude, or relative costs."""
    if summary.get("cost_unit") == RELATIVE:
        return Cost("macs", 1, "relative cost", "relative cost per sample")
    size = size_of(macs.max())
    many = f" ({NAMES[size]}s)" if NAMES[size] else ""
    return Cost("macs", 1 / size, "MACs", f"MACs per sample{many}")


def label_cost(axis: Any, cost: Cost, more: str = "") -> None:
    """Label an axis (``axes.xaxis``) with a cost, in red if the times are in doubt."""
    axis.set_label_text(cost.axis + more, color=RED if cost.in_doubt else "black")


def cost_words(macs: float | None, ms: float | None, summary: dict[str, Any]) -> str:
    """A mean cost per sample, in words, in each known unit; the others are None or NaN."""
    words = [] if ms is None or ms != ms else [f"{ms:.3f} ms"]
    unit = summary.get("cost_unit", "macs")
    words += [] if macs is None or macs != macs else [units.cost_words(macs, unit)]
    return " and ".join(words)


def title(figure: Figure, text: str) -> None:
    """Title of a figure, wrapped to its width."""
    # Bold letters of 11 points are a tenth of an inch wide, rather less.
    lines = textwrap.wrap(plain(text), int(9.5 * figure.get_figwidth()))
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=11, fontweight="bold")


def plain(text: str) -> str:
    """A text in which a dollar sign begins no formula."""
    return text.replace("$", r"\$")


def short(name: str, longest: int = 24) -> str:
    """A name, cut if it is long."""
    return plain(name if len(name) <= longest else f"{name[: longest - 3]}...")


def legend(figure: Figure, *axes: Axes, columns: int = 4) -> None:
    """The legend below a figure, each label of the axes once."""
    entries: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    ncols = min(columns, len(entries))
    # A letter of 9 points is a twelfth of an inch wide; the handle takes that of seven.
    width = max(12, int(12 * figure.get_figwidth() / ncols) - 7)
    wrapped = ["\n".join(textwrap.wrap(label, width, break_long_words=False)) for label in entries]
    figure.legend(list(entries.values()), wrapped, loc="outside lower center", ncols=ncols)


def half_widths(accuracy: Any, low: Any, high: Any) -> np.ndarray:
    """Lengths (2, N), in percent, of the error bars of an interval."""
    accuracy, low, high = (np.asarray(values, float) for values in (accuracy, low, high))
    return 100 * np.clip([accuracy - low, high - accuracy], 0, None)


def limits(low: Any, high: Any, least: float = 0.0, most: float = 100.0) -> tuple[float, float]:
    """Limits of an axis of percent that holds what lies between, with a margin."""
    bottom, top = float(np.min(low)), float(np.max(high))
    margin = max(0.5, 0.06 * (top - bottom))
    # The marks at the very end need room as well.
    room = 0.03 * (top - bottom + 2 * margin)
    return max(least - room, bottom - margin), min(most + room, top + margin)


def mark_full_network(axes: Axes, x: float, accuracy: float) -> None:
    """Mark the operating point of the full network."""
    axes.plot(
        x, accuracy, "s", color="black", markersize=7, linestyle="", label="full network", zorder=4
    )


def mark_chosen(axes: Axes, x: float, accuracy: float) -> None:
    """Mark the operating point of the chosen policy."""
    axes.plot(
        x,
        accuracy,
        "*",
        color=RED,
        markeredgecolor="black",
        markeredgewidth=0.6,
        markersize=15,
        linestyle="",
        label="chosen policy",
        zorder=5,
    )
