"""What each class gets out of the chosen policy: its accuracy, and where it leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from early_exit.figures import style

MOST = 20
LONGEST = 24


def draw(tables: dict[str, Any]) -> Figure:
    """From ``per_class`` (the run of the chosen policy) and ``summary``."""
    summary, found = tables["summary"], _with_samples(tables["per_class"])
    shown = found.nsmallest(MOST, "accuracy", keep="first").sort_index()
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(10, 1.9 + 0.28 * len(shown)), sharey=True, width_ratios=[3, 2]
    )
    places = np.arange(len(shown))
    errors = shown.accuracy - shown.accuracy_low, shown.accuracy_high - shown.accuracy
    errors = 100 * np.clip(errors, 0, None)
    own = {"fmt": "o", "color": style.BLUE, "capsize": 3, "label": "chosen policy"}
    left.errorbar(100 * shown.accuracy, places, xerr=errors, **own)
    whole = {"marker": "|", "color": "black", "s": 90, "label": "whole network", "zorder": 3}
    left.scatter(100 * shown.whole_network, places, **whole)
    left.set_yticks(places, [_short(name) for name in shown.class_name])
    left.invert_yaxis()
    left.set(xlabel=style.ACCURACY)
    right.barh(places, shown.mean_exit, color=style.SKY)
    right.set(xlabel="mean exit", xlim=(0, summary["exits"]))
    right.set_xticks(range(1, summary["exits"] + 1))
    right.grid(axis="y", visible=False)
    part = f", the {MOST} least accurate classes" if len(found) > MOST else ""
    figure.suptitle(f"{summary['experiment']}: class by class{part}, with 95 % intervals")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _with_samples(table: pd.DataFrame) -> pd.DataFrame:
    return table[table.samples > 0].reset_index(drop=True)


def _short(name: str) -> str:
    # A dollar sign would begin a formula.
    name = name.replace("$", r"\$")
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."


def caption(tables: dict[str, Any]) -> str:
    """The worst and the best class, and the earliest and the latest."""
    found = _with_samples(tables["per_class"])
    names, right, exits = found.class_name, found.accuracy, found.mean_exit
    if len(found) == 1:
        return f"{names[0]}: {right[0]:.1%} right, leaving at exit {exits[0]:.1f} in the mean."
    worst, best, early, late = right.idxmin(), right.idxmax(), exits.idxmin(), exits.idxmax()
    if f"{exits[early]:.1f}" == f"{exits[late]:.1f}":
        where = f"all leave at exit {exits[early]:.1f} in the mean"
    else:
        where = (
            f"{names[early]} leaves first (exit {exits[early]:.1f} in the mean) and {names[late]}"
            f" last ({exits[late]:.1f})"
        )
    return (
        f"Of {len(found)} classes, {names[worst]} is least often right ({right[worst]:.1%}) and"
        f" {names[best]} most often ({right[best]:.1%}); {where}."
    )
