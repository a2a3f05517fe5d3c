"""Learning curve: loss and accuracy of each exit against the epoch, on train and held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from early_exit.figures import style
from early_exit.statistics.intervals import wilson_interval

# Markers, since one epoch alone draws no line.
MARKS = {"marker": "o", "markersize": 3}
SIZE, HEIGHT = 4.8, 4.2


def draw(tables: dict[str, Any]) -> Figure:
    """Two panels from ``training``, the log of an experiment that trained its network; or three."""
    log = tables["training"]
    held = _held_out(log)
    kinds = ["accuracy", "held_out"] if held else ["accuracy"]
    figure, panels = pyplot.subplots(1, 1 + len(kinds), figsize=(SIZE * (1 + len(kinds)), HEIGHT))
    losses, *accuracies = panels
    losses.plot(log.epoch, log.loss, color=style.BLUE, **MARKS)
    losses.set(ylabel="joint loss on train (nats)")
    losses.set_ylim(bottom=min(0, log.loss.min()))
    for axes, kind in zip(accuracies, kinds, strict=True):
        _exits_against_epochs(axes, log, kind)
    accuracies[0].set(ylabel="accuracy on train, augmented (%)")
    if held:
        accuracies[1].set(ylabel="accuracy on held-out samples (%)")
        # Compared by eye.
        limits = [axes.get_ylim() for axes in accuracies]
        for axes in accuracies:
            axes.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    for axes in panels:
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.legend(figure, accuracies[0], columns=4 if held else 6)
    style.title(figure, f"{tables['experiment']}: training, on the train split")
    return figure


def _exits_against_epochs(axes: Axes, log: pd.DataFrame, kind: str) -> None:
    """Accuracy of each exit; that on held-out samples with its 95 % interval."""
    exits = _exits(log)
    shown = {exits[n - 1] for n in style.spread(len(exits), style.MOST_IN_LEGEND)}
    for number, colour in zip(exits, style.exit_colours(len(exits)), strict=True):
        accuracy = log[f"{kind}_{number}"]
        label = _label(log, number) if number in shown else None
        axes.plot(log.epoch, 100 * accuracy, color=colour, label=label, **MARKS)
        if kind == "held_out":
            low, high = 100 * np.array(_intervals(log, number)).T
            axes.fill_between(log.epoch, low, high, color=colour, alpha=0.15, linewidth=0)


def _intervals(log: pd.DataFrame, number: int) -> list[tuple[float, float]]:
    """Wilson intervals of an exit's accuracy on held-out samples, one for each epoch."""
    samples = log.held_out_samples
    right = (log[f"held_out_{number}"] * samples).round()
    return [wilson_interval(int(k), int(n)) for k, n in zip(right, samples, strict=True)]


def _label(log: pd.DataFrame, number: int) -> str:
    last = log.iloc[-1]
    text = f"exit {number}: {100 * last[f'accuracy_{number}']:.1f} %"
    held = f", held out {100 * last[f'held_out_{number}']:.1f} %" if _held_out(log) else ""
    return text + held


def _held_out(log: pd.DataFrame) -> bool:
    """Whether the log has the accuracy on samples that were held out."""
    return "held_out_samples" in log


def _exits(log: pd.DataFrame) -> list[int]:
    return [int(name.removeprefix("accuracy_")) for name in log if name.startswith("accuracy_")]


def caption(tables: dict[str, Any]) -> str:
    """Epochs, training time, and final loss and accuracies."""
    log = tables["training"]
    last = log.iloc[-1]

    def ended(kind: str) -> str:
        return ", ".join(f"{last[f'{kind}_{number}']:.1%}" for number in _exits(log))

    rest = (
        " Accuracy on held-out samples is in the other figures; training.held_out shows it for each"
        " epoch."
    )
    if _held_out(log):
        samples = log.held_out_samples.iloc[0]
        rest = (
            f" On {samples:,} samples of the train split that were held out, after the epoch and"
            f" not augmented: {ended('held_out')} (band: 95 % interval). Where these fall while the"
            " others rise, the network learns its samples by heart. An average of the weights, if"
            " there is one, is taken at the end and is not in these curves."
        )
    return (
        "A loss that still falls at the end says that more epochs may help."
        f" {len(log)} epochs in {log.seconds.sum() / 60:.1f} minutes; the loss went from"
        f" {log.loss.iloc[0]:.3f} to {last.loss:.3f}. Accuracy of the exits in the last"
        f" epoch, on augmented training samples while the weights change: {ended('accuracy')}."
        f"{rest}"
    )
