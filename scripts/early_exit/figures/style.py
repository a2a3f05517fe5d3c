"""One look for all figures: colours that stay apart for the colour-blind, and shared marks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
import pandas as pd

matplotlib.use("agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

# Okabe and Ito's palette.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
RED, SKY, YELLOW, GREY = "#D55E00", "#56B4E9", "#F0E442", "#8A8A8A"
RULE_COLOURS = {"below": BLUE, "above": ORANGE}

SETTINGS = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E3E3E3",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "early-exit",
    "svg.fonttype": "none",
}

# Behind a label, so that lines do not run through it.
CLEAR = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}

ACCURACY = "accuracy (%)"


@contextmanager
def styled() -> Iterator[None]:
    """Draw with this look, and leave matplotlib's own as it was."""
    with pyplot.rc_context(SETTINGS):
        yield


def exit_colours(exits: int) -> list:
    """A colour for each exit, light for the first, dark for the last."""
    shades = pyplot.get_cmap("viridis_r")
    return [shades(0.08 + 0.87 * k / max(1, exits - 1)) for k in range(exits)]


# What is compared with a threshold: low is sure.
MEASURES = {
    "entropy": "entropy",
    "max_probability": "1 - max probability",
    "margin": "1 - margin",
    "given": "the given uncertainty",
}


def threshold_unit(measure: str) -> str:
    """The label of a threshold's axis."""
    return "threshold (nats)" if measure == "entropy" else f"threshold on {MEASURES[measure]}"


def rule_words(rule: str, measure: str) -> str:
    """What a rule does, for a legend."""
    return f"leave when {MEASURES[measure]} is {rule} the threshold"


def batches(summary: dict[str, Any]) -> str:
    """How times were taken, for a title."""
    timing = summary["timing"]
    if summary["simulated"]:
        return "by the prices that came with the records"
    threads = "1 thread" if timing["threads"] == 1 else f"{timing['threads']} threads"
    return f"in batches of {timing['batch_size']}, {threads}"


class Cost(NamedTuple):
    """What a figure shows for cost: a column, by which factor, and what it is called."""

    column: str
    factor: float
    name: str
    axis: str


def cost_shown(table: pd.DataFrame) -> Cost:
    """Time, or MACs where a table of operating points has no times."""
    if table.ms_per_sample.notna().any():
        return Cost("ms_per_sample", 1, "time", "time per picture (ms)")
    return Cost("macs", 1e-6, "MACs", "MACs per picture (millions)")


def cost_words(macs: float | None, ms: float | None) -> str:
    """A mean cost of a sample in the units that there are prices in; the others are None or NaN."""
    words = [] if ms is None or ms != ms else [f"{ms:.3f} ms"]
    words += [] if macs is None or macs != macs else [f"{macs / 1e6:.2f} M MACs"]
    return " and ".join(words)


def mark_whole_network(axes: Axes, x: float, accuracy: float) -> None:
    """The whole network's point: nobody leaves, no head but the last."""
    axes.plot(x, accuracy, "s", color="black", markersize=8, label="whole network", zorder=4)


def mark_chosen(axes: Axes, x: float, accuracy: float) -> None:
    """The chosen policy's point."""
    axes.plot(
        x,
        accuracy,
        "*",
        color=RED,
        markeredgecolor="black",
        markeredgewidth=0.6,
        markersize=16,
        label="chosen policy",
        zorder=5,
    )
