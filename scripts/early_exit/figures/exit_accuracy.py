"""How good each exit is: on all pictures, and on those that leave there."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.figure import Figure

from early_exit.figures import style


def draw(tables: dict[str, Any]) -> Figure:
    """From ``per_exit`` (the run of the chosen policy) and ``summary``."""
    summary = tables["summary"]
    per_exit = tables["per_exit"]
    per_exit = per_exit[per_exit.exit != "overall"]
    figure, axes = pyplot.subplots(figsize=(8, 4.8))
    numbers = np.arange(1, summary["exits"] + 1)
    width = 0.38
    everybody = 100 * np.array(summary["per_exit_accuracy"])
    leavers = 100 * per_exit.accuracy.to_numpy()
    share = per_exit.left.to_numpy() / per_exit.left.sum()
    clear = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    bars = axes.bar(
        numbers - width / 2, everybody, width, color=style.SKY, label="all test pictures"
    )
    axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=3, bbox=clear, zorder=4)
    bars = axes.bar(
        numbers + width / 2,
        np.nan_to_num(leavers),
        width,
        color=style.BLUE,
        label="those that leave there under the chosen policy",
    )
    labels = [
        "nobody" if np.isnan(a) else f"{a:.1f}\n({s:.0%})"
        for a, s in zip(leavers, share, strict=True)
    ]
    axes.bar_label(bars, labels, fontsize=8, padding=3, bbox=clear, zorder=4)
    overall, static = summary["selected"]["accuracy"], summary["static"]["accuracy"]
    line = {"linewidth": 1.2, "zorder": 3}
    axes.axhline(100 * static, color="black", linestyle=":", label="whole network", **line)
    axes.axhline(100 * overall, color=style.RED, linestyle="--", label="chosen policy", **line)
    names = [f"exit {k}" for k in numbers]
    axes.set_xticks(numbers, names)
    axes.set(ylabel=style.ACCURACY, ylim=(0, 114))
    axes.set_yticks(range(0, 101, 20))
    axes.grid(axis="x", visible=False)
    axes.set_title(f"{summary['experiment']}: accuracy of each exit (share leaving in brackets)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def caption(tables: dict[str, Any]) -> str:
    """Each exit's accuracy by itself, and the overall one."""
    summary = tables["summary"]
    each = ", ".join(f"{a:.2%}" for a in summary["per_exit_accuracy"])
    low, high = summary["selected"]["accuracy_interval"]
    return (
        f"By themselves the exits are right on {each} of the test pictures. The chosen policy is"
        f" right on {summary['selected']['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%})."
    )
