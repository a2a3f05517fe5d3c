"""What each target asked for, and what its policy obtained on the test split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.analysis.best_measures import best_measures
from early_exit.calibration.targets import KINDS, QUALITIES, label
from early_exit.figures import style

# Height of the marks of all methods of a target, relative to its row.
ROW = 0.6
NAMES = {"accuracy": "accuracy at least {}", "drop": "drop at most {}"}


def draw(tables: dict[str, Any]) -> Figure:
    """Two panels, accuracy and cost, with a row for each target; from ``points``, ``summary``."""
    points, summary = tables["points"], tables["summary"]
    full = points[points.method == "full_network"].iloc[0]
    best = best_measures(points, "calibration_cost")
    # Thresholds of one's own have no target.
    best = best[(best.method != "full_network") & best.target.notna()]
    calibrated = _with_share(best, full)
    asked = _asked(points, full)
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(10, 1.9 + 0.34 * len(asked)), sharey=True, width_ratios=(3, 2)
    )
    methods = calibrated.method.unique().tolist()
    places = {key: place for place, key in enumerate(zip(asked.kind, asked.value, strict=True))}
    for number, method in enumerate(methods):
        rows = calibrated[calibrated.method == method]
        offset = ROW * (number - (len(methods) - 1) / 2) / max(2, len(methods) - 1)
        keys = zip(rows.target_kind, rows.target, strict=True)
        _obtained(left, right, rows, np.array([places[key] for key in keys]) + offset, method)
    _marks(left, right, asked, calibrated)
    left.set_yticks(range(len(asked)), asked.name)
    left.set_ylim(len(asked) - 0.5, -0.5)
    for place in np.arange(0.5, len(asked) - 1):
        for axes in (left, right):
            axes.axhline(place, color="#E3E3E3", linewidth=0.8)
    for axes in (left, right):
        axes.grid(axis="y", visible=False)
    left.axvline(100 * full.accuracy, color="black", linewidth=0.8, linestyle=":", zorder=1)
    left.plot([], [], color="black", linewidth=0.8, linestyle=":", label="full network")
    left.set(xlabel="accuracy on test (%)")
    right.set(xlabel="cost on test (% of the full network)", xlim=(0, right.get_xlim()[1]))
    style.title(figure, f"{summary['experiment']}: what was asked for, and what was obtained")
    style.legend(figure, left, columns=4)
    return figure


def _with_share(rows: pd.DataFrame, full: pd.Series) -> pd.DataFrame:
    """Rows with the cost in the unit of the target as a share of the full network's."""
    default = "macs" if full.macs == full.macs else "ms"
    units = rows.target_kind.map(KINDS).fillna(default)
    macs, ms = rows.macs / full.macs, rows.ms_per_sample / full.ms_per_sample
    return rows.assign(share=np.where(units == "macs", macs, ms))


def _asked(points: pd.DataFrame, full: pd.Series) -> pd.DataFrame:
    """The targets in the order of accuracies, drops, budgets, each from the easiest.

    Columns are ``kind``, ``value``, ``name``, the asked ``accuracy`` or ``share`` of the cost, and
    whether a policy is ``met`` by any method.
    """
    rows = []
    own = points[points.method != "full_network"]
    for (kind, value), group in own.groupby(["target_kind", "target"]):
        accuracy = {"accuracy": value, "drop": full.accuracy - value}.get(kind, np.nan)
        whole = {"macs": full.macs, "ms": full.ms_per_sample}.get(kind, 1.0)
        share = np.nan if kind in QUALITIES else value / whole
        # Points where the label has a share.
        words = f"{100 * value:g} %" if kind == "accuracy" else f"{100 * value:g} points"
        name = NAMES.get(kind, "at most {}").format(words if kind in NAMES else label(kind, value))
        met = group.accuracy.notna().any()
        rows.append((list(KINDS).index(kind), kind, value, name, accuracy, share, met))
    columns = ["order", "kind", "value", "name", "accuracy", "share", "met"]
    found = pd.DataFrame(rows, columns=columns)
    found["harder"] = np.where(found.kind == "accuracy", found.value, -found.value)
    return found.sort_values(["order", "harder"]).reset_index(drop=True)


def _obtained(left: Axes, right: Axes, rows: pd.DataFrame, places: np.ndarray, method: str) -> None:
    colour, marker, _ = style.METHODS.get(method, style.OTHER)
    look = {"color": colour, "markersize": 4, "linestyle": "", "marker": marker, "label": method}
    errors = style.half_widths(rows.accuracy, rows.accuracy_low, rows.accuracy_high)
    left.errorbar(100 * rows.accuracy, places, xerr=errors, elinewidth=0.8, zorder=2, **look)
    right.plot(100 * rows.share, places, zorder=2, **look)
    for (_, row), place in zip(rows.iterrows(), places, strict=True):
        if row.chosen:
            style.mark_chosen(left, 100 * row.accuracy, place)
            style.mark_chosen(right, 100 * row.share, place)


def _marks(left: Axes, right: Axes, asked: pd.DataFrame, calibrated: pd.DataFrame) -> None:
    """Draw what was asked for, and name the targets that no policy meets."""
    for axes, column in ((left, "accuracy"), (right, "share")):
        known = asked[asked[column].notna()]
        axes.vlines(
            100 * known[column],
            known.index - 0.42,
            known.index + 0.42,
            color="black",
            linewidth=1.6,
            label="asked for",
            zorder=3,
        )
    lows, highs = 100 * calibrated.accuracy_low, 100 * calibrated.accuracy_high
    wanted = 100 * asked.accuracy.dropna()
    if len(calibrated) or len(wanted):
        left.set_xlim(*style.limits([*lows, *wanted], [*highs, *wanted]))
    for place in asked.index[~asked.met]:
        where = {"ha": "center", "va": "center", "color": style.GREY, "fontsize": 9}
        left.text(0.5, place, "no policy", transform=left.get_yaxis_transform(), **where)


def caption(tables: dict[str, Any]) -> str:
    """Number of targets, and how many policies miss on test what they meet on calibration."""
    points, summary = tables["points"], tables["summary"]
    full = points[points.method == "full_network"].iloc[0]
    asked = _asked(points, full)
    best = best_measures(points, "calibration_cost")
    own = best[(best.method != "full_network") & best.target_kind.isin(QUALITIES)]
    wanted = own.target.where(own.target_kind == "accuracy", full.accuracy - own.target)
    below = own.accuracy < wanted
    sure = own.accuracy_high < wanted
    text = (
        "Black bars are what was asked for; a mark to the left of its bar obtained less accuracy on"
        f" the {summary['samples']['test']:,} test samples, whose 95 % intervals are drawn."
    )
    if len(own):
        text += (
            f" Of {len(own)} policies for an accuracy or a drop, {below.sum()} miss it on test,"
            f" {sure.sum()} of them by more than the interval."
        )
    if not asked.met.all():
        text += f" No policy meets {(~asked.met).sum()} of the {len(asked)} targets."
    return text
