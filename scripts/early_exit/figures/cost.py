"""Cost of each backbone stage and exit head, as stacked bars."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style
from early_exit.policy.units import cost_words

PARTS = {
    "stage": ("backbone stage", style.BLUE),
    "head": ("exit head", style.ORANGE),
    "overhead": ("uncertainty and decision", style.GREY),
}


def draw(tables: dict[str, Any]) -> Figure:
    """A panel for MACs and one for times, if known, from ``costs``, ``machine`` and ``summary``."""
    summary, rows = tables["summary"], _at_batch_size(tables)
    macs = style.macs_shown(rows.macs, summary)
    times = "time per sample (ms)" if summary["simulated"] else style.time_axis("measured", summary)
    panels = []
    if rows.macs.notna().any():
        panels.append(macs)
    if rows.ms_per_sample.notna().any():
        panels.append(style.Cost("ms_per_sample", 1, "time", times, style.doubted(summary)))
    figure, grid = pyplot.subplots(
        1, len(panels), figsize=(1 + 5 * max(1.4, len(panels)), 4.4), squeeze=False
    )
    for axes, cost in zip(grid[0], panels, strict=True):
        _bars(axes, rows, cost)
    style.title(figure, f"{summary['experiment']}: cost of backbone stages and exit heads")
    style.legend(figure, *grid[0])
    return figure


def _at_batch_size(tables: dict[str, Any]) -> pd.DataFrame:
    """The costs at the batch size that the network is run with, or at the nearest one."""
    costs, size = tables["costs"], tables["machine"]["batch_size"]
    sizes = costs.batch_size.unique()
    return costs[costs.batch_size == sizes[np.abs(sizes - size).argmin()]]


def _bars(axes: Axes, rows: pd.DataFrame, cost: style.Cost) -> None:
    numbers = sorted(rows.exit.unique())
    base = np.zeros(len(numbers))
    for part, (label, colour) in PARTS.items():
        own = rows[rows.part == part].set_index("exit")[cost.column].reindex(numbers).fillna(0)
        if own.any():
            heights = cost.factor * own.to_numpy()
            axes.bar(numbers, heights, 0.7, bottom=base, color=colour, label=label)
            base += heights
    shown = [numbers[n - 1] for n in style.spread(len(numbers), 16)]
    axes.set_xticks(shown)
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="stage and its exit (number)")
    style.label_cost(axes.yaxis, cost)


def caption(tables: dict[str, Any]) -> str:
    """The most expensive stage and head, and the share of the heads."""
    summary, rows = tables["summary"], _at_batch_size(tables)
    known = "macs" if rows.macs.notna().any() else "ms_per_sample"
    unit = summary.get("cost_unit", "macs")
    words = {
        part: rows[rows.part == part].set_index("exit")[known].fillna(0)
        for part in ("stage", "head")
    }
    each = [
        f"{part} {costs.idxmax()} costs most of the {part}s,"
        f" {cost_words(costs.max(), unit) if known == 'macs' else f'{costs.max():.3f} ms'}"
        for part, costs in words.items()
    ]
    share = words["head"].sum() / max(1e-12, words["head"].sum() + words["stage"].sum())
    size = tables["machine"]["batch_size"]
    doubt = " The times are in doubt: see the result." if style.doubted(summary) else ""
    return (
        "What an exit costs is its head on top of the stages up to it; a head that is high beside"
        f" its stage has to take many samples to pay. In batches of {size}: {'; '.join(each)}. All"
        f" heads together take {share:.1%} of the cost of everything.{doubt}"
    )
