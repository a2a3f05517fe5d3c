"""Accuracy and cost against one threshold for all exits, and against each other."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from early_exit.figures import style


def draw(tables: dict[str, Any]) -> Figure:
    """Three panels from ``sweep`` (test split), ``points`` and ``summary``.

    ``published`` says whether the network is the published one: the opposite exit rule is drawn as
    well.
    """
    sweep, summary = tables["sweep"], tables["summary"]
    measure = sweep.measure.iloc[0]
    cost = style.cost_shown(sweep, summary)
    figure, panels = pyplot.subplots(1, 3, figsize=(13, 4.6))
    accuracy, spending, trade = panels
    chosen_rule = summary["selected"]["exit_rule"]
    for rule, curve in sorted(sweep.groupby("exit_rule"), key=lambda item: item[0] == chosen_rule):
        if rule != chosen_rule and not tables.get("published"):
            continue
        look = {
            "color": style.RULE_COLOURS[rule],
            "linewidth": 2.2 if rule == chosen_rule else 1.2,
            "linestyle": "-" if rule == chosen_rule else "--",
            "label": style.rule_words(rule, measure),
        }
        spent = cost.factor * curve[cost.column]
        accuracy.plot(curve.threshold, 100 * curve.accuracy, **look)
        spending.plot(curve.threshold, spent, **look)
        trade.plot(spent, 100 * curve.accuracy, **look)
    _marks(accuracy, spending, trade, tables["points"], cost)
    unit = style.threshold_unit(measure)
    accuracy.set(xlabel=unit, ylabel="accuracy on test (%)", title="Accuracy against threshold")
    name = cost.name[0].upper() + cost.name[1:]
    spending.set(xlabel=unit, title=f"{name} against threshold")
    spending.set_ylim(bottom=0)
    style.label_cost(spending.yaxis, cost)
    trade.set(ylabel="accuracy on test (%)", title=f"Accuracy against {cost.name}")
    trade.set_xlim(left=0)
    style.label_cost(trade.xaxis, cost)
    style.legend(figure, trade)
    style.title(
        figure,
        f"{summary['experiment']}: one threshold for all exits, {summary['samples']['test']:,} test"
        f" samples, {style.batches(summary)}",
    )
    return figure


def _marks(
    accuracy: Axes, spending: Axes, trade: Axes, points: pd.DataFrame, cost: style.Cost
) -> None:
    full = points[points.method == "full_network"].iloc[0]
    chosen = points[points.chosen].iloc[0]
    line = {"color": "black", "linewidth": 1, "linestyle": ":"}
    spent = cost.factor * full[cost.column]
    for axes, level in ((accuracy, 100 * full.accuracy), (spending, spent)):
        axes.axhline(level, **line)
    trade.axhline(100 * full.accuracy, label="full network, level", zorder=1, **line)
    style.mark_full_network(trade, spent, 100 * full.accuracy)
    style.mark_chosen(trade, cost.factor * chosen[cost.column], 100 * chosen.accuracy)


def caption(tables: dict[str, Any]) -> str:
    """Accuracy and cost at both ends. No best point is named: these are test samples."""
    sweep, summary = tables["sweep"], tables["summary"]
    rule = summary["selected"]["exit_rule"]
    curve = sweep[sweep.exit_rule == rule].sort_values("threshold")
    first, last = curve.iloc[0], curve.iloc[-1]
    points = tables["points"]
    full = points[points.method == "full_network"].iloc[0]
    # Heads may cost nothing: external costs can be of stages alone.
    heads_cost = curve.macs.max() > full.macs
    heads = " The sweep can cost more, since it runs all heads." if heads_cost else ""
    return (
        "How much accuracy one threshold for all exits trades for how much cost."
        f" {len(curve)} thresholds from {first.threshold:g} to {last.threshold:.3f}, exit rule"
        f" {rule}: from {_words(first, summary)} to {_words(last, summary)}. Dotted lines and"
        f" square: the full network, {_words(full, summary)}.{heads}"
    )


def _words(point: pd.Series, summary: dict[str, Any]) -> str:
    cost = style.cost_words(point.macs, point.ms_per_sample, summary)
    return f"{point.accuracy:.2%} accurate at {cost}"
