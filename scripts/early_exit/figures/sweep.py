"""One threshold for all exits: accuracy and time against it, and against each other."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style


def draw(tables: dict[str, Any]) -> Figure:
    """Three panels from ``sweep`` (test split), ``points`` and ``summary``."""
    sweep, summary = tables["sweep"], tables["summary"]
    measure = summary["selected"]["measure"]
    cost = style.cost_shown(sweep)
    figure, (accuracy, time, trade) = pyplot.subplots(1, 3, figsize=(13, 4.4))
    chosen_rule = summary["selected"]["exit_rule"]
    for rule, curve in sorted(sweep.groupby("exit_rule"), key=lambda item: item[0] == chosen_rule):
        look = {
            "color": style.RULE_COLOURS[rule],
            "linewidth": 2.2 if rule == chosen_rule else 1.4,
            "linestyle": "-" if rule == chosen_rule else "--",
            "label": style.rule_words(rule, measure),
        }
        accuracy.plot(curve.threshold, 100 * curve.accuracy, **look)
        spent = cost.factor * curve[cost.column]
        time.plot(curve.threshold, spent, **look)
        trade.plot(spent, 100 * curve.accuracy, **look)
    _marks(accuracy, time, trade, tables["points"], cost)
    unit = style.threshold_unit(measure)
    accuracy.set(xlabel=unit, ylabel=style.ACCURACY, title="Accuracy against threshold")
    name = cost.name[0].upper() + cost.name[1:]
    time.set(xlabel=unit, ylabel=cost.axis, title=f"{name} against threshold")
    time.set_ylim(bottom=0)
    trade.set(xlabel=cost.axis, ylabel=style.ACCURACY)
    trade.set_title(f"Accuracy against {cost.name}")
    trade.set_xlim(left=0)
    handles, labels = trade.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    how = "" if summary["simulated"] else "predicted from stage prices, "
    figure.suptitle(
        f"{summary['experiment']}: one threshold for all exits, {summary['samples']['test']:,} test"
        f" pictures; {cost.name} {how}{style.batches(summary)}"
    )
    return figure


def _marks(accuracy: Axes, time: Axes, trade: Axes, points: pd.DataFrame, cost: style.Cost) -> None:
    whole = points[points.method == "whole_network"].iloc[0]
    chosen = points[points.chosen].iloc[0]
    line = {"color": "black", "linewidth": 1, "linestyle": ":"}
    accuracy.axhline(100 * whole.accuracy, **line)
    time.axhline(cost.factor * whole[cost.column], **line)
    style.mark_whole_network(trade, cost.factor * whole[cost.column], 100 * whole.accuracy)
    style.mark_chosen(trade, cost.factor * chosen[cost.column], 100 * chosen.accuracy)


def caption(tables: dict[str, Any]) -> str:
    """From where to where accuracy and time run. Nothing is picked: these are test pictures."""
    sweep, summary = tables["sweep"], tables["summary"]
    rule = summary["selected"]["exit_rule"]
    curve = sweep[sweep.exit_rule == rule].sort_values("threshold")
    first, last = curve.iloc[0], curve.iloc[-1]
    points = tables["points"]
    whole = points[points.method == "whole_network"].iloc[0]
    # A head that costs nothing, as where only stages have a price, adds nothing.
    dearer = curve.macs.max() > whole.macs
    dearest = " The sweep's dearest point costs more, since it runs every head." if dearer else ""
    return (
        f"Of {len(curve)} thresholds under the rule {rule}, the first, {first.threshold:g}, gives"
        f" {_words(first)}; the last, {last.threshold:.3f}, {_words(last)}. The dotted lines and"
        f" the square are the whole network: {_words(whole)}.{dearest}"
    )


def _words(point: pd.Series) -> str:
    return f"{point.accuracy:.2%} for {style.cost_words(point.macs, point.ms_per_sample)}"
