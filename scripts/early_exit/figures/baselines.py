"""Leaving early against smaller networks trained alone: accuracy against measured time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style


def draw(tables: dict[str, Any]) -> Figure:
    """One panel from ``baselines``."""
    table = tables["baselines"].sort_values("ms_per_sample")
    figure, axes = pyplot.subplots(figsize=(6.4, 4.8))
    policies = table[table.kind == "policy"]
    smaller = table[table.kind == "smaller network"]
    _points(axes, policies, style.RED, "o-", "early exits, one network")
    _points(axes, smaller, style.BLUE, "s--", "smaller networks, trained alone")
    for row in smaller.itertuples():
        axes.annotate(
            f"up to exit {row.exit:.0f}",
            (row.ms_per_sample, 100 * row.accuracy),
            xytext=(6, -12),
            textcoords="offset points",
            fontsize=8,
            color=style.BLUE,
            bbox=style.CLEAR,
        )
    whole = table[table.kind == "whole network"].iloc[0]
    style.mark_whole_network(axes, whole.ms_per_sample, 100 * whole.accuracy)
    axes.set_xlim(left=0)
    axes.set(xlabel="time per picture (ms, measured)", ylabel=style.ACCURACY)
    axes.set_title(f"{tables['experiment']}, test split")
    axes.legend(loc="lower right")
    return figure


def _points(axes: Axes, rows: pd.DataFrame, colour: str, look: str, label: str) -> None:
    accuracy = 100 * rows[["accuracy", "accuracy_low", "accuracy_high"]]
    spread = [accuracy.accuracy - accuracy.accuracy_low, accuracy.accuracy_high - accuracy.accuracy]
    axes.errorbar(
        rows.ms_per_sample,
        accuracy.accuracy,
        yerr=np.array(spread),
        fmt=look,
        color=colour,
        markersize=5,
        linewidth=1,
        elinewidth=0.8,
        label=label,
    )


def caption(tables: dict[str, Any]) -> str:
    """For each smaller network, what the policies reach in its time."""
    table = tables["baselines"]
    policies = table[table.kind == "policy"]
    sentences = []
    for row in table[table.kind == "smaller network"].itertuples():
        in_time = policies[policies.ms_per_sample <= row.ms_per_sample]
        ours = f"{in_time.accuracy.max():.2%}" if len(in_time) else "nothing so fast"
        sentences.append(
            f"up to exit {row.exit:.0f}: {row.accuracy:.2%} in {row.ms_per_sample:.3f} ms, policies"
            f" in that time {ours}"
        )
    return f"Smaller networks trained alone, {'; '.join(sentences)}."
