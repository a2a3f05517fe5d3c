"""The first figure of README, from the results of one experiment.

    python docs/draw_hero.py results/cifar10

Draws docs/hero.png: accuracy against MACs of policies, single exits and the full network, and where
the samples exit under the chosen policy. All numbers are those on the test split.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from early_exit.figures import style
from early_exit.figures.frontier import by_budget
from early_exit.figures.style import styled

HOME = Path(__file__).parent
METHOD = "coordinate"


def main() -> None:
    folder = Path(sys.argv[1])
    summary = json.loads((folder / "summary.json").read_text())
    frontier, costs, per_exit = (
        pd.read_csv(folder / name, comment="#")
        for name in ("frontier/frontier.csv", "cost/cost.csv", "evaluation/per_exit.csv")
    )
    with styled():
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), width_ratios=(3, 2))
        trade(left, summary, frontier, single_exits(costs))
        shares(right, per_exit[per_exit.exit != "overall"])
        style.legend(figure, left)
        figure.savefig(HOME / "hero.png", dpi=150)


def single_exits(costs: pd.DataFrame) -> np.ndarray:
    """MACs of a network cut after each exit, without the heads before it."""
    rows = costs[costs.batch_size == costs.batch_size.max()]
    stages, heads = (rows[rows.part == part].macs.to_numpy() for part in ("stage", "head"))
    return np.cumsum(stages) + heads


def trade(axes: Axes, summary: dict, frontier: pd.DataFrame, single: np.ndarray) -> None:
    """Accuracy against MACs."""
    own, full = summary["selected"], summary["full_network"]
    measures = frontier[frontier.method == METHOD]
    rows = by_budget(measures[measures.measure == own["measure"]], METHOD)
    axes.plot(
        100 * rows.macs_share,
        100 * rows.accuracy,
        color=style.BLUE,
        linewidth=2.2,
        label="early exits",
    )
    single_accuracy = 100 * np.array(summary["per_exit_accuracy"])
    look = {"color": style.GREY, "linewidth": 1, "linestyle": "--", "markersize": 5}
    axes.plot(
        100 * single / full["macs"], single_accuracy, marker="o", label="one exit for all", **look
    )
    style.mark_full_network(axes, 100, 100 * full["accuracy"])
    share = 100 * own["macs"] / full["macs"]
    style.mark_chosen(axes, share, 100 * own["accuracy"])
    axes.set(xlabel="MACs per sample (% of the full network)", ylabel="accuracy on test (%)")
    axes.set_xlim(0, 105)
    words = f"{100 * own['accuracy']:.1f} % accurate with {share:.0f} % of the MACs"
    axes.set_title(f"{summary['experiment']}: {words}")


def shares(axes: Axes, per_exit: pd.DataFrame) -> None:
    """Where the samples exit under the chosen policy."""
    numbers = per_exit.exit.astype(int).to_numpy()
    share = 100 * per_exit.exited / per_exit.exited.sum()
    axes.barh(numbers, share, color=style.exit_colours(len(numbers)))
    for number, value in zip(numbers, share, strict=True):
        axes.text(value + 1, number, f"{value:.0f} %", va="center", fontsize=9)
    axes.set(xlabel="samples that exit there (%)", ylabel="exit", xlim=(0, 1.18 * share.max()))
    axes.set_ylim(len(numbers) + 0.6, 0.4)
    axes.set_yticks(numbers)
    axes.grid(axis="y", visible=False)
    axes.set_title("Easy samples exit early")


if __name__ == "__main__":
    main()
