"""Who leaves where: the share leaving at each exit, a bar for each policy."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from early_exit.figures import style
from early_exit.targets import label

LEAST_LABELLED = 0.04


def draw(tables: dict[str, Any]) -> Figure:
    """From ``points`` (test split) and ``summary``."""
    summary = tables["summary"]
    exits = summary["exits"]
    points = _distinct(tables["points"], exits)
    figure, axes = pyplot.subplots(figsize=(9, 1.8 + 0.5 * len(points)))
    colours = style.exit_colours(exits)
    names = points.name
    left = pd.Series(0.0, index=points.index)
    for k in range(1, exits + 1):
        share = points[f"share_{k}"]
        bars = axes.barh(
            names, 100 * share, left=100 * left, color=colours[k - 1], label=f"exit {k}"
        )
        texts = [f"{100 * s:.0f}" if s >= LEAST_LABELLED else "" for s in share]
        colour = "white" if k > exits / 2 else "black"
        axes.bar_label(bars, texts, label_type="center", color=colour, fontsize=9)
        left += share
    axes.set_ylim(len(points) - 0.4, -0.6)
    axes.grid(False)
    axes.set(xlabel="share of test pictures leaving (%)", xlim=(0, 100))
    for text, chosen in zip(axes.get_yticklabels(), points.chosen, strict=True):
        text.set_fontweight("bold" if chosen else "normal")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=min(exits, 8)
    )
    axes.set_title(f"{summary['experiment']}: who leaves where (the chosen policy in bold)")
    return figure


def _distinct(points: pd.DataFrame, exits: int) -> pd.DataFrame:
    """A method's policies, those that give the same in one row, from cheap to dear."""
    same = ["method", "accuracy", *(f"share_{k}" for k in range(1, exits + 1))]
    rows = []
    for _, group in points.groupby(same, sort=False):
        row = group.iloc[0].copy()
        row["chosen"] = group.chosen.any()
        row["name"] = _name(row, group)
        rows.append(row)
    found = pd.DataFrame(rows)
    order = found.method.map({name: n for n, name in enumerate(found.method.unique())})
    cost = "macs" if found.macs.notna().any() else "ms_per_sample"
    return found.assign(order=order).sort_values(["order", cost]).reset_index(drop=True)


def _name(row: pd.Series, group: pd.DataFrame) -> str:
    if row.method == "whole_network":
        name = "whole network"
    else:
        targets = ", ".join(map(label, group.target_kind, group.target))
        name = f"{row.method}: {targets}"
    macs = row.macs / 1e6
    return f"{name}\n{row.accuracy:.1%}, " + (
        f"{macs:.1f} M MACs" if macs == macs else f"{row.ms_per_sample:.3g} ms"
    )


def caption(tables: dict[str, Any]) -> str:
    """The chosen policy's shares, as run or simulated."""
    summary = tables["summary"]
    shares = ", ".join(f"{share:.1%}" for share in summary["selected"]["exit_shares"])
    how = "simulated from the records" if summary["simulated"] else "really run"
    return f"Under the chosen policy, {how}, these shares left at the exits in turn: {shares}."
