"""Accuracy against measured time: early exits, and smaller networks trained alone."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style


def draw(tables: dict[str, Any]) -> Figure:
    """One panel from ``baselines``."""
    table = tables["baselines"].sort_values("ms_per_sample")
    figure, axes = pyplot.subplots(figsize=(8.6, 5.4))
    policies = table[table.kind == "policy"]
    smaller = table[table.kind == "smaller network"]
    _points(axes, policies, style.BLUE, "o-", "early exits, one network")
    cuts = ", ".join(f"{exit:.0f}" for exit in smaller.exit)
    label = f"smaller networks, trained alone, cut after exit {cuts}"
    _points(axes, smaller, style.ORANGE, "^--", label)
    full = table[table.kind == "full network"].iloc[0]
    style.mark_full_network(axes, full.ms_per_sample, 100 * full.accuracy)
    axes.set_xlim(0, 1.06 * table.ms_per_sample.max())
    axes.set(xlabel="time per sample (ms, measured)", ylabel="accuracy on test (%)")
    style.title(figure, f"{tables['experiment']}: early exits, or a smaller network?")
    style.legend(figure, axes, columns=3)
    return figure


def _points(axes: Axes, rows: pd.DataFrame, colour: str, look: str, label: str) -> None:
    axes.errorbar(
        rows.ms_per_sample,
        100 * rows.accuracy,
        yerr=style.half_widths(rows.accuracy, rows.accuracy_low, rows.accuracy_high),
        fmt=look,
        color=colour,
        markersize=5,
        linewidth=1,
        elinewidth=0.8,
        label=label,
    )


def caption(tables: dict[str, Any]) -> str:
    """Accuracy of each smaller network, and of the best policy that is as fast."""
    table = tables["baselines"]
    policies = table[table.kind == "policy"]
    sentences = []
    for row in table[table.kind == "smaller network"].itertuples():
        in_time = policies[policies.ms_per_sample <= row.ms_per_sample]
        ours = f"{in_time.accuracy.max():.2%}" if len(in_time) else "none as fast"
        sentences.append(
            f"cut after exit {row.exit:.0f}: {row.accuracy:.2%} in {row.ms_per_sample:.3f} ms"
            f" (best policy within that time: {ours})"
        )
    return (
        "A policy above the orange line is better than a smaller network of the same time. Smaller"
        f" networks trained alone: {'; '.join(sentences)}."
    )
