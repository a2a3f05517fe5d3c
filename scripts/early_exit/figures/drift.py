"""Accuracy and cost on corrupted images, with old thresholds and after recalibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.analysis.drift_simulation import BUDGET, CLEAN, FULL, KEPT, OLD, RELABELLED, TRACKED
from early_exit.figures import style

LOOKS = {
    OLD: ("old thresholds", style.RED, "o", "-"),
    KEPT: ("exit shares kept", style.BLUE, "v", "-"),
    TRACKED: ("quantiles tracked", style.SKY, "^", "--"),
    FULL: ("full network", "black", "s", ":"),
}
# By labels: what for, and the style; the fewest labels have another colour than the most.
LABELLED = {RELABELLED: ("for the target", "D", "-"), BUDGET: ("for the old cost", "P", "--")}
FEWEST, MOST = style.ORANGE, style.GREEN


def draw(tables: dict[str, Any]) -> Figure:
    """Three panels for each kind of corruption from ``drift``: accuracy, that against the full
    network's, and cost.
    """
    table = _against_full(tables["drift"])
    clean, kinds = table[table.kind == CLEAN], [k for k in table.kind.unique() if k != CLEAN]
    width = max(8, 4 * len(kinds))
    figure, axes = pyplot.subplots(
        3, len(kinds), figsize=(width, 9.5), sharex=True, sharey="row", squeeze=False
    )
    for column, kind in zip(axes.T, kinds, strict=True):
        rows = pd.concat([clean, table[table.kind == kind]])
        for panel, name in zip(column, ("accuracy", "against_full", "cost_share"), strict=True):
            _lines(panel, rows, name)
        column[0].set_title(kind)
        column[2].set_xlabel("strength (0: images as they are)")
        column[2].set_xticks(sorted(rows.strength.unique()))
    words = ("accuracy (%)", "accuracy minus full network (points)", "cost (% of the full network)")
    for panel, label in zip(axes[:, 0], words, strict=True):
        panel.set_ylabel(label)
    style.title(figure, f"{tables['experiment']}: corrupted images, and recalibration")
    style.legend(figure, axes[0, 0], columns=3)
    return figure


def _against_full(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the accuracy minus that of the full network on the same images."""
    full = table[table.way == FULL].set_index(["kind", "strength"]).accuracy
    its = full.loc[list(zip(table.kind, table.strength, strict=True))].to_numpy()
    return table.assign(against_full=table.accuracy - its)


def _lines(axes: Axes, rows: pd.DataFrame, column: str) -> None:
    fewest = rows.labels[rows.labels > 0].min()
    for (way, labels), own in rows.groupby(["way", "labels"], sort=False):
        if way in LABELLED:
            purpose, marker, line = LABELLED[way]
            name = f"{labels:,} labels, {purpose}"
            colour = FEWEST if labels == fewest < rows.labels.max() else MOST
        else:
            name, colour, marker, line = LOOKS[way]
        look = {"color": colour, "marker": marker, "linestyle": line, "markersize": 5}
        axes.plot(own.strength, 100 * own[column], label=name, **look)


def caption(tables: dict[str, Any]) -> str:
    """Accuracy and cost of four ways at the middle strength of each kind."""
    table = tables["drift"]
    first = table.iloc[0]
    kinds = [_of_kind(table, kind) for kind in table.kind.unique() if kind != CLEAN]
    by_labels = " and by all labels" if table.way.isin(LABELLED).any() else ""
    return (
        "Thresholds are worth recalibrating where the red line is far below the others."
        f" On {first.samples:,} images, mean of {first.draws} random halves; accuracy and cost with"
        f" old thresholds, exit shares kept{by_labels}. {' '.join(kinds)}"
    )


def _of_kind(table: pd.DataFrame, kind: str) -> str:
    rows = table[table.kind == kind]
    strengths = np.sort(rows.strength.unique())
    rows = rows[rows.strength == strengths[len(strengths) // 2]]
    labelled = rows[rows.labels == rows.labels.max()] if rows.labels.any() else rows[:0]
    shown = pd.concat([rows[rows.way.isin([OLD, KEPT])], labelled])
    words = []
    for own in shown.itertuples():
        purpose = f" {LABELLED[own.way][0]}" if own.way in LABELLED else ""
        words.append(f"{100 * own.accuracy:.1f} % at {own.cost_share:.0%}{purpose}")
    return f"{kind.capitalize()} {rows.strength.iloc[0]}: {', '.join(words)}."
