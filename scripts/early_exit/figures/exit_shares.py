"""Shares of samples that exit at each exit, a stacked bar for each of a few policies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.analysis.best_measures import best_measures
from early_exit.calibration.targets import label
from early_exit.figures import style
from early_exit.policy.units import RELATIVE, cost_words

LEAST_LABELLED = 0.04
# Policies besides the chosen one and the full network.
OTHERS = 4
# Targets named at a bar.
NAMED = 2


def draw(tables: dict[str, Any]) -> Figure:
    """One panel from ``points`` (test split) and ``summary``."""
    summary = tables["summary"]
    exits = summary["exits"]
    points = _shown(_distinct(best_measures(tables["points"], "calibration_cost"), summary))
    figure, axes = pyplot.subplots(figsize=(9, 1.8 + 0.5 * len(points)))
    every = points[[f"share_{k}" for k in range(1, exits + 1)]]
    bars(axes, points.name, every)
    axes.set_ylim(len(points) - 0.4, -0.6)
    axes.grid(False)
    axes.set(xlabel="share of test samples that exit (%)", xlim=(0, 100))
    for text, chosen in zip(axes.get_yticklabels(), points.chosen, strict=True):
        text.set_fontweight("bold" if chosen else "normal")
    handles, words = axes.get_legend_handles_labels()
    shown = [number - 1 for number in style.spread(exits, style.MOST_IN_LEGEND)]
    figure.legend(
        [handles[k] for k in shown],
        [words[k] for k in shown],
        loc="outside lower center",
        ncols=min(len(shown), 6),
    )
    style.title(figure, f"{summary['experiment']}: where samples exit (bold: the chosen policy)")
    return figure


def bars(axes: Axes, names: pd.Series, shares: pd.DataFrame) -> None:
    """Draw a stacked horizontal bar for each row of ``shares``, which has a column per exit."""
    exits = len(shares.columns)
    colours = style.exit_colours(exits)
    left = pd.Series(0.0, index=shares.index)
    for k, column in enumerate(shares.columns, 1):
        share = shares[column]
        drawn = axes.barh(
            names, 100 * share, left=100 * left, color=colours[k - 1], label=f"exit {k}"
        )
        texts = [f"{100 * s:.0f}" if s >= LEAST_LABELLED else "" for s in share]
        colour = "white" if k > exits / 2 else "black"
        axes.bar_label(drawn, texts, label_type="center", color=colour, fontsize=9)
        left += share


def _distinct(points: pd.DataFrame, summary: dict[str, Any]) -> pd.DataFrame:
    """The policies by ascending cost; identical operating points of a method share a row."""
    exits = summary["exits"]
    same = ["method", "accuracy", *(f"share_{k}" for k in range(1, exits + 1))]
    rows = []
    for _, group in points.groupby(same, sort=False):
        row = group.iloc[0].copy()
        row["chosen"] = group.chosen.any()
        row["name"] = _name(row, group, summary.get("cost_unit", "macs"))
        rows.append(row)
    found = pd.DataFrame(rows)
    cost = "macs" if found.macs.notna().any() else "ms_per_sample"
    return found.sort_values(cost, kind="stable").reset_index(drop=True)


def _shown(points: pd.DataFrame) -> pd.DataFrame:
    """The chosen policy, some others of its method that are spread over the costs, the full one."""
    method = points[points.chosen].method.iloc[0]
    full = points.method == "full_network"
    others = points.index[~points.chosen & ~full & (points.method == method)]
    if method == "full_network" or others.empty:
        others = points.index[~points.chosen & ~full]
    few = np.linspace(0, len(others) - 1, min(OTHERS, len(others))).round().astype(int)
    kept = points.index.isin(others[few]) | points.chosen | full
    return points[kept].reset_index(drop=True)


def _name(row: pd.Series, group: pd.DataFrame, unit: str) -> str:
    if row.method == "full_network":
        name = "full network"
    else:
        targets = list(map(label, group.target_kind, group.target))
        more = f" and {len(targets) - NAMED} more" if len(targets) > NAMED else ""
        name = f"{row.method}: {', '.join(targets[:NAMED])}{more}"
    known = row.macs == row.macs
    digits = ".3g" if unit == RELATIVE else ".1f"
    cost = cost_words(row.macs, unit, digits) if known else f"{row.ms_per_sample:.3g} ms"
    return f"{name}\n{row.accuracy:.1%}, {cost}"


def caption(tables: dict[str, Any]) -> str:
    """Exit shares of the chosen policy, measured or simulated."""
    summary = tables["summary"]
    shares = ", ".join(f"{share:.1%}" for share in summary["selected"]["exit_shares"])
    how = "simulated from the records" if summary["simulated"] else "measured"
    return (
        "The longer the light part of a bar, the more samples exit early. Policies are in the order"
        f" of their cost. Exit shares of the chosen policy, {how}, from the first exit to the last:"
        f" {shares}."
    )
