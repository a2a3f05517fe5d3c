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
    points, summary = tables["points"], tables["summary"]
    exits = summary["exits"]
    figure, axes = pyplot.subplots(figsize=(9, 1.8 + 0.5 * len(points)))
    colours = style.exit_colours(exits)
    names = [_name(row) for row in points.itertuples()]
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
    axes.invert_yaxis()
    axes.grid(False)
    axes.set(xlabel="share of test pictures leaving (%)", xlim=(0, 100))
    for text, chosen in zip(axes.get_yticklabels(), points.chosen, strict=True):
        text.set_fontweight("bold" if chosen else "normal")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=min(exits, 8)
    )
    axes.set_title(f"{summary['experiment']}: who leaves where (the chosen policy in bold)")
    return figure


def _name(row: Any) -> str:
    if row.method == "whole_network":
        name = "whole network"
    else:
        name = f"{row.method}, {label(row.target_kind, row.target)}"
    return f"{name}\n{row.accuracy:.1%}, {row.macs / 1e6:.1f} M MACs"


def caption(tables: dict[str, Any]) -> str:
    """The chosen policy's shares, as really run."""
    selected = tables["summary"]["selected"]
    shares = ", ".join(f"{share:.1%}" for share in selected["exit_shares"])
    return f"Under the chosen policy, really run, these shares left at the exits in turn: {shares}."
