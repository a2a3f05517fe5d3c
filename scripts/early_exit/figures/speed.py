"""Measured time per sample by batch size, and predicted against measured times."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style

WAYS = {
    "all_heads": ("all heads, no early exits", style.GREY, "^"),
    "full_network": ("full network", "black", "s"),
    "dynamic": ("policy", style.RED, "o"),
    "ideal": ("policy without overhead (ideal)", style.BLUE, "v"),
}


def draw(tables: dict[str, Any]) -> Figure:
    """A panel for each precision from ``speed``, and one from ``predicted``."""
    speed, predicted = tables["speed"], tables["predicted"]
    precisions = list(speed.precision.unique())
    figure, axes = pyplot.subplots(
        1, len(precisions) + 1, figsize=(4.6 * (len(precisions) + 1), 4.6), squeeze=False
    )
    for panel, precision in zip(axes[0], precisions, strict=False):
        _times(panel, speed[speed.precision == precision], precision)
    _predictions(axes[0, -1], predicted)
    style.legend(figure, axes[0, 0])
    style.title(figure, f"{tables['experiment']}: measured speed by batch size, and predictions")
    return figure


def _times(axes: Axes, rows: pd.DataFrame, precision: str) -> None:
    for column, (label, colour, marker) in WAYS.items():
        axes.plot(rows.batch_size, rows[column], marker=marker, color=colour, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(rows.batch_size, [str(size) for size in rows.batch_size])
    axes.set_ylim(bottom=0)
    axes.set(xlabel="batch size", ylabel="time per sample (ms, measured)")
    axes.set_title(f"{precision}, accuracy {rows.accuracy.iloc[0]:.2%}")


def _predictions(axes: Axes, predicted: pd.DataFrame) -> None:
    most = 1.08 * predicted[["predicted", "measured"]].to_numpy().max()
    axes.plot([0, most], [0, most], color=style.GREY, linewidth=1)
    axes.fill_between([0, most], [0, 0.9 * most], [0, 1.1 * most], color="#EEEEEE", zorder=0)
    points = axes.scatter(
        predicted.measured, predicted.predicted, c=100 * predicted.early, cmap="viridis", zorder=3
    )
    axes.figure.colorbar(points, ax=axes, label="samples that exit early (%)")
    axes.set(xlim=(0, most), ylim=(0, most))
    axes.set_xlabel("time per sample (ms, measured)")
    axes.set_ylabel("time per sample (ms, predicted)")
    axes.set_title(f"{len(predicted)} policies (grey: within 10 %)")


def caption(tables: dict[str, Any]) -> str:
    """Overhead, speed-ups, and prediction error."""
    speed, predicted, machine = tables["speed"], tables["predicted"], tables["machine"]
    ratio = machine["as_published_ms"] / machine["policy_ms"]
    plain = f" of {machine['as_published']}" if machine.get("as_published") else ""
    return (
        "Early exits pay where the red line is below the black one."
        f" The policy is {speed.speedup.min():.2f} to {speed.speedup.max():.2f} times as fast as"
        f" the full network in the same precision, and takes {speed.overhead.min():.2f} to"
        f" {speed.overhead.max():.2f} times its time without overhead. It is {ratio:.2f} times as"
        f" fast as all stages and heads{plain} run plainly in fp32 in batches of 256. The median"
        f" error of the predicted times is {predicted.error.abs().median():.1%}"
        f" ({len(predicted)} policies)."
    )
