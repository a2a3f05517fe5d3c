"""The table and the figure of docs/criteria.md, from the studies of several experiments.

    python docs/draw_criteria.py results/corrected results/cifar10 ...

Prints accuracies of `coordinate` by each criterion, and draws docs/criteria.png: the difference to
the study's first measure on the same splits.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes

from early_exit.figures import style
from early_exit.figures.style import styled

HOME = Path(__file__).parent
METHOD, GRID = "coordinate", "exact_grid"
# Limits of the figure in points. Patience is further behind, which the table says.
LIMITS = (-3, 2)


def studied(folder: Path) -> pd.DataFrame:
    """The study's rows for budgets, without temperatures."""
    table = pd.read_csv(folder / "study" / "study.csv", comment="#")
    rows = table[(table.target_kind == "macs_share") & ~table.scaled]
    return rows.assign(experiment=folder.name)


def print_table(table: pd.DataFrame) -> None:
    """A line for each experiment and criterion, a column for each budget."""
    budgets = sorted(table.target.unique())
    print("| network | criterion |", " | ".join(f"{budget:.0%}" for budget in budgets), "|")
    for (experiment, measure), rows in table.groupby(["experiment", "measure"], sort=False):
        own = rows[rows.method == METHOD].set_index("target")
        first = measure == table.measure.iloc[0]
        cells = [_cell(own.loc[b], first) if b in own.index else "-" for b in budgets]
        print(f"| `{experiment}` | `{measure}` | {' | '.join(cells)} |")
    both = table[table.method.isin([METHOD, GRID])].pivot_table(
        index=["experiment", "measure", "target"], columns="method", values="accuracy"
    )
    gap = 100 * (both[METHOD] - both[GRID])
    print(f"{METHOD} minus {GRID}: {gap.min():+.2f} to {gap.max():+.2f} points")


def _cell(row: pd.Series, first: bool) -> str:
    """The accuracy of the first criterion, the difference of another."""
    return f"{100 * row.accuracy:.2f}" if first else f"{100 * row.against_first:+.2f}"


def draw(table: pd.DataFrame) -> None:
    """A panel for each budget: dots for the criteria, with the interval of 95 % of the splits."""
    budgets, names = sorted(table.target.unique()), table.experiment.unique()
    measures = [m for m in table.measure.unique() if m != table.measure.iloc[0]]
    colours = [style.BLUE, style.ORANGE, style.GREEN, style.PINK]
    figure, panels = pyplot.subplots(1, len(budgets), figsize=(13, 6), sharey=True)
    for axes, budget in zip(panels, budgets, strict=True):
        for number, name in enumerate(names):
            own = table[
                (table.experiment == name) & (table.target == budget) & (table.method == METHOD)
            ].set_index("measure")
            above = 0.18 * (number - (len(names) - 1) / 2)
            _series(axes, own.reindex(measures), above, colours[number % len(colours)], name)
        axes.axvline(0, color="black", linewidth=1, zorder=1)
        axes.set(title=f"{budget:.0%} of the MACs", xlim=LIMITS)
        axes.set_xlabel("accuracy minus the margin's (points)")
    panels[0].set_yticks(range(len(measures)), measures)
    panels[0].set_ylim(len(measures) - 0.5, -0.5)
    style.legend(figure, *panels)
    style.title(
        figure,
        f"Exit criteria with thresholds of {METHOD}, 50 splits (bars: 95 % of them; arrows: off to"
        " the left)",
    )
    figure.savefig(HOME / "criteria.png", dpi=110)


def _series(axes: Axes, rows: pd.DataFrame, above: float, colour: str, name: str) -> None:
    """Dots of one experiment with their bars; an arrow for what is further to the left."""
    places = np.arange(len(rows)) + above
    low, middle, high = (
        100 * rows[f"against_first{end}"].to_numpy() for end in ("_low", "", "_high")
    )
    axes.hlines(places, low, high, linewidth=1.2, color=colour)
    axes.plot(middle, places, "o", markersize=4, label=name, color=colour, zorder=3)
    off = middle < LIMITS[0]
    edge = np.full(off.sum(), LIMITS[0] + 0.08)
    axes.plot(edge, places[off], "<", markersize=5, color=colour, zorder=3)


def main() -> None:
    table = pd.concat([studied(Path(name)) for name in sys.argv[1:]])
    print_table(table)
    with styled():
        draw(table)


if __name__ == "__main__":
    main()
