"""Time of the policy and accuracy in each backend and precision."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style

BACKENDS = {
    "torch": (style.GREEN, "D"),
    "onnxruntime": (style.BLUE, "v"),
    "openvino": (style.RED, "o"),
}
LINES = {"fp32": "-", "bf16": "--", "int8": ":"}


def draw(tables: dict[str, Any]) -> Figure:
    """Times by batch size, and accuracies of the policies found for each and for fp32."""
    rows = tables["runtimes"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.6))
    _times(left, rows)
    _accuracies(right, rows.drop_duplicates(["backend", "precision"]))
    style.legend(figure, left)
    style.title(figure, f"{tables['experiment']}: the policy in each backend and precision")
    return figure


def _times(axes: Axes, rows: pd.DataFrame) -> None:
    for (backend, precision), own in rows.groupby(["backend", "precision"], sort=False):
        colour, marker = BACKENDS[backend]
        axes.plot(
            own.batch_size,
            own.ms_policy,
            LINES[precision],
            color=colour,
            marker=marker,
            label=_name(own.iloc[0]),
        )
    sizes = rows.batch_size.unique()
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_ylim(bottom=0)
    axes.set(xlabel="batch size", ylabel="time per sample of the policy (ms, measured)")


def _accuracies(axes: Axes, rows: pd.DataFrame) -> None:
    places = range(len(rows))
    axes.scatter(100 * rows.accuracy, places, color=style.RED, zorder=3, label="found for each")
    axes.scatter(
        100 * rows.accuracy_fp32_policy,
        places,
        color=style.GREY,
        marker="x",
        zorder=4,
        label="that of fp32",
    )
    axes.set_yticks(places, [_name(row) for row in rows.itertuples()])
    axes.invert_yaxis()
    axes.set(xlabel="accuracy of the policy on test (%)")
    axes.legend(title="policy")


def _name(row: Any) -> str:
    return f"{row.backend} {row.precision}{' (emulated)' if row.emulated else ''}"


def caption(tables: dict[str, Any]) -> str:
    """The fastest at the smallest and largest batches, and what finding thresholds anew changes."""
    rows = tables["runtimes"]
    parts = []
    for size in sorted({rows.batch_size.min(), rows.batch_size.max()}):
        best = rows[rows.batch_size == size].sort_values("ms_policy").iloc[0]
        parts.append(
            f"In batches of {size} the fastest is {_name(best)}: {best.ms_policy:.3g} ms a sample,"
            f" {best.speedup:.2f} times as fast as the full network there, and"
            f" {best.speedup_published:.3g} times as fast as the network run as published."
        )
    moved = (rows.accuracy - rows.accuracy_fp32_policy).abs().max()
    parts.append(
        "Thresholds found on records that each made, rather than in fp32, change the accuracy by at"
        f" most {100 * moved:.2f} points."
    )
    return " ".join(parts)
