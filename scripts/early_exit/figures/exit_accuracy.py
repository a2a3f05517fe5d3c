"""How good each exit is: on all pictures, and on those that leave there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style
from early_exit.statistics import wilson_interval

APART = 0.12


def draw(tables: dict[str, Any]) -> Figure:
    """From ``per_exit`` (the run of the chosen policy) and ``summary``."""
    summary = tables["summary"]
    per_exit = tables["per_exit"]
    per_exit = per_exit[per_exit.exit != "overall"]
    figure, axes = pyplot.subplots(figsize=(8, 5))
    numbers = np.arange(1, summary["exits"] + 1)
    everybody = np.array(summary["per_exit_accuracy"])
    test = np.full(len(numbers), summary["samples"]["test"])
    _points(axes, numbers - APART, everybody, test, style.SKY, "all test pictures")
    leavers = per_exit[per_exit.left > 0]
    label = "those that leave there under the chosen policy"
    places = leavers.exit.astype(int).to_numpy() + APART
    accuracy = leavers.accuracy.to_numpy()
    _points(axes, places, accuracy, leavers.left.to_numpy(), style.BLUE, label)
    overall, static = summary["selected"]["accuracy"], summary["static"]["accuracy"]
    line = {"linewidth": 1.2, "zorder": 1}
    axes.axhline(100 * static, color="black", linestyle=":", label="whole network", **line)
    axes.axhline(100 * overall, color=style.RED, linestyle="--", label="chosen policy", **line)
    axes.set_xticks(numbers, _names(per_exit))
    axes.set(ylabel=style.ACCURACY, xlim=(0.5, len(numbers) + 0.7))
    axes.grid(axis="x", visible=False)
    axes.set_title(f"{summary['experiment']}: accuracy of each exit, with 95 % intervals")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _points(
    axes: Axes,
    places: np.ndarray,
    accuracy: np.ndarray,
    samples: np.ndarray,
    colour: str,
    label: str,
) -> None:
    """Accuracies with their intervals and their numbers beside them."""
    intervals = [wilson_interval(a * n, n) for a, n in zip(accuracy, samples, strict=True)]
    low, high = np.array(intervals).T
    errors = 100 * np.clip([accuracy - low, high - accuracy], 0, None)
    axes.errorbar(places, 100 * accuracy, errors, fmt="o", color=colour, capsize=3, label=label)
    for place, value in zip(places, accuracy, strict=True):
        axes.annotate(
            f"{100 * value:.1f}",
            (place, 100 * value),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox=style.CLEAR,
            zorder=1.5,
        )


def _names(per_exit: pd.DataFrame) -> list[str]:
    shares = per_exit.left / per_exit.left.sum()
    return [
        f"exit {number}\n{f'{share:.1%} leave' if share else 'nobody leaves'}"
        for number, share in zip(per_exit.exit, shares, strict=True)
    ]


def caption(tables: dict[str, Any]) -> str:
    """Each exit's accuracy by itself, and the overall one."""
    summary = tables["summary"]
    each = ", ".join(f"{a:.2%}" for a in summary["per_exit_accuracy"])
    low, high = summary["selected"]["accuracy_interval"]
    return (
        f"By themselves the exits are right on {each} of the test pictures. The chosen policy is"
        f" right on {summary['selected']['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%})."
    )
