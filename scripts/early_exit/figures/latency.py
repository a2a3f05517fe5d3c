"""Latency of single samples: percentiles of each policy and of the full network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.analysis.times import MOST
from early_exit.calibration.targets import label
from early_exit.figures import style

# Marker and colour of each percentile, by its column.
PERCENTILES = {
    "p50_ms": ("half of the samples (p50)", "o", style.BLUE),
    "p95_ms": ("95 % of them (p95)", "D", style.ORANGE),
    "p99_ms": ("99 % of them (p99)", "X", style.PINK),
}


def draw(tables: dict[str, Any]) -> Figure:
    """A line for each row of ``latency``, from p50 to p99."""
    table = tables["latency"]
    figure, axes = pyplot.subplots(figsize=(8.6, 1.9 + 0.5 * len(table)))
    places = np.arange(len(table))
    axes.hlines(places, table.p50_ms, table.p99_ms, color="#C8C8C8", linewidth=2, zorder=1)
    for column, look in PERCENTILES.items():
        _percentile(axes, table, column, *look)
    for place, row in enumerate(table.itertuples()):
        if row.kind == "chosen policy":
            style.mark_chosen(axes, row.p50_ms, place)
        elif row.kind == "full network":
            style.mark_full_network(axes, row.p50_ms, place)
    axes.set_yticks(places, [_name(row) for _, row in table.iterrows()])
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)
    doubt = ", in doubt" if _doubts(table) else ""
    axes.set_xlabel(
        f"latency of a sample in a batch of 1 (ms, measured{doubt})",
        color=style.RED if doubt else "black",
    )
    style.title(figure, f"{tables['experiment']}: latency of single samples")
    style.legend(figure, axes, columns=5)
    return figure


def _percentile(
    axes: Axes, table: pd.DataFrame, column: str, name: str, marker: str, colour: str
) -> None:
    """Marks of a percentile with its quartiles; medians with a mark of their own have none."""
    places, ms = np.arange(len(table)), table[column]
    width = np.clip([ms - table[f"{column}_low"], table[f"{column}_high"] - ms], 0, None)
    axes.errorbar(ms, places, xerr=width, fmt="none", ecolor=colour, elinewidth=1.2)
    shown = table.kind.eq("policy") if column == "p50_ms" else table.kind.notna()
    axes.plot(ms[shown], places[shown], marker, color=colour, markersize=6, label=name, zorder=3)


def _name(row: pd.Series, between: str = "\n") -> str:
    """What was asked for, and the accuracy on test."""
    asked = f"{row.method}, {label(row.target_kind, row.target)}"
    name = asked if row.kind == "policy" else row.kind
    return f"{style.short(name, 34)}{between}{row.accuracy:.1%} accurate"


def _doubts(table: pd.DataFrame) -> str:
    """Why the times are in doubt; empty without doubt."""
    ratio = table.mean_ms / table.predicted_ms
    far = table[(ratio > MOST) | (ratio < 1 / MOST)]
    found = [
        f"the mean {'in' if row.kind == 'full network' else 'under'} the {_name(row, ', ')} is"
        f" {row.mean_ms:.3g} ms ({row.predicted_ms:.3g} predicted)"
        for _, row in far.iterrows()
    ]
    if (table.p50_ms_high > MOST * table.p50_ms_low).any():
        found.append(f"medians varied between rounds by more than a factor of {MOST:g}")
    return "; ".join(found)


def caption(tables: dict[str, Any]) -> str:
    """Percentiles of the chosen policy and of the full network."""
    table, machine = tables["latency"], tables["machine"]
    first = table.iloc[0]
    found = [
        f"under the {row.kind} {row.p50_ms:.3f}, {row.p95_ms:.3f} and {row.p99_ms:.3f} ms"
        for row in table[table.kind != "policy"].itertuples()
    ]
    threads = f", {machine['threads']} threads" if machine.get("threads") else ""
    why = _doubts(table)
    doubt = f" These times are in doubt: {why}. The machine was probably busy." if why else ""
    return (
        "Early exits shorten the median first; a sample that goes all the way pays for the heads on"
        " its way, too. Half of the samples take at most the first of these latencies, 95 % the"
        f" second, 99 % the third: {'; '.join(found)}. {first.samples:,} samples of the test"
        f" split, each alone in a batch{threads}, all ways in turns; medians over"
        f" {first.rounds} rounds, with their quartiles as bars.{doubt}"
    )
