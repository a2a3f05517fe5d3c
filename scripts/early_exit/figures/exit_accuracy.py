"""Accuracy of each exit, on all samples and on those that exit there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style
from early_exit.statistics.intervals import wilson_interval

APART = 0.12


def draw(tables: dict[str, Any]) -> Figure:
    """One panel from ``per_exit`` (the run of the chosen policy) and ``summary``."""
    summary = tables["summary"]
    per_exit = tables["per_exit"]
    per_exit = per_exit[per_exit.exit != "overall"]
    numbers = np.arange(1, summary["exits"] + 1)
    figure, axes = pyplot.subplots(figsize=(max(8, min(20, 2 + 0.6 * len(numbers))), 5))
    accuracies = np.array(summary["per_exit_accuracy"])
    test = np.full(len(numbers), summary["samples"]["test"])
    points(axes, numbers - APART, accuracies, test, style.SKY, "all test samples")
    used = per_exit[per_exit.exited > 0]
    positions = used.exit.astype(int).to_numpy() + APART
    own = used.accuracy.to_numpy(), used.exited.to_numpy()
    points(axes, positions, *own, style.BLUE, "samples that exit there under the chosen policy")
    overall, full = summary["selected"]["accuracy"], summary["full_network"]["accuracy"]
    axes.axhline(100 * full, color="black", linestyle=":", label="full network, overall", zorder=1)
    look = {"color": style.RED, "linestyle": "--", "zorder": 1}
    axes.axhline(100 * overall, label="chosen policy, overall", **look)
    _limits(axes, [(accuracies, test), own], [overall, full])
    _names(axes, per_exit)
    axes.set(ylabel="accuracy on test (%)", xlim=(0.5, len(numbers) + 0.5))
    axes.grid(axis="x", visible=False)
    style.title(figure, f"{summary['experiment']}: accuracy of each exit, with 95 % intervals")
    style.legend(figure, axes, columns=3)
    return figure


def _intervals(accuracy: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % Wilson intervals of accuracies, their lower and upper ends."""
    found = [wilson_interval(round(a * n), n) for a, n in zip(accuracy, samples, strict=True)]
    low, high = np.array(found).reshape(-1, 2).T
    return low, high


def points(
    axes: Axes,
    positions: np.ndarray,
    accuracy: np.ndarray,
    samples: np.ndarray,
    colour: str,
    label: str,
) -> None:
    """Draw accuracies with 95 % Wilson intervals; those of few samples hollow and grey, without."""
    low, high = _intervals(accuracy, samples)
    errors = style.half_widths(accuracy, low, high)
    enough = samples >= style.FEW
    axes.errorbar(
        positions[enough],
        100 * accuracy[enough],
        errors[:, enough],
        fmt="o",
        color=colour,
        markersize=5,
        capsize=3,
        elinewidth=1.2,
        label=label,
    )
    if not enough.all():
        axes.plot(
            positions[~enough],
            100 * accuracy[~enough],
            "o",
            color=style.GREY,
            markerfacecolor="white",
            markersize=5,
            label=f"fewer than {style.FEW} samples (no interval)",
        )


def _limits(axes: Axes, series: list[tuple[np.ndarray, np.ndarray]], lines: list[float]) -> None:
    """Limits of the accuracies, but for those of few samples."""
    lows, highs = [100 * value for value in lines], [100 * value for value in lines]
    for accuracy, samples in series:
        enough = samples >= style.FEW
        low, high = _intervals(accuracy[enough], samples[enough])
        lows += (100 * low).tolist()
        highs += (100 * high).tolist()
    axes.set_ylim(*style.limits(lows, highs))


def _names(axes: Axes, per_exit: pd.DataFrame) -> None:
    """Label the axis with exits and the numbers of samples that exit there."""
    few = len(per_exit) <= style.MANY_EXITS
    # Numbers of five digits and more have no room beside each other.
    counts = [f"{n:,}" if n < 10_000 or few else f"{n / 1000:.0f}k" for n in per_exit.exited]
    axes.set_xticks(
        np.arange(1, len(per_exit) + 1),
        [f"{number}\n{count}" for number, count in zip(per_exit.exit, counts, strict=True)],
        fontsize=9 if few else 8,
    )
    axes.set_xlabel("exit, and below it the number of samples that exit there")


def caption(tables: dict[str, Any]) -> str:
    """Accuracy of each exit on all samples, and of the chosen policy."""
    summary = tables["summary"]
    each = ", ".join(f"{a:.2%}" for a in summary["per_exit_accuracy"])
    low, high = summary["selected"]["accuracy_interval"]
    return (
        "Dark points above the light ones: the samples that exit there are the easier ones."
        f" Accuracy of the exits, each on all test samples: {each}. Accuracy of the chosen policy:"
        f" {summary['selected']['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%})."
    )
