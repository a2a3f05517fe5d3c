"""How training went: loss and accuracy of each exit against the epoch."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from early_exit.figures import style


def draw(tables: dict[str, Any]) -> Figure:
    """Two panels from ``training``, the log of an experiment that trained its network."""
    log = tables["training"]
    figure, (losses, accuracies) = pyplot.subplots(1, 2, figsize=(11, 4.6))
    # A training of one epoch is a point.
    marks = {"marker": "o", "markersize": 3}
    losses.plot(log.epoch, log.loss, color=style.BLUE, **marks)
    losses.set(ylabel="joint loss", title="loss")
    exits = _exits(log)
    for number, colour in zip(exits, style.exit_colours(len(exits)), strict=True):
        accuracy = 100 * log[f"accuracy_{number}"]
        label = f"exit {number}: {accuracy.iloc[-1]:.1f} %"
        accuracies.plot(log.epoch, accuracy, color=colour, label=label, **marks)
    accuracies.set(ylabel=style.ACCURACY, title="accuracy of each exit")
    for axes in (losses, accuracies):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = accuracies.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    figure.suptitle("on the train split, while training")
    return figure


def _exits(log: pd.DataFrame) -> list[int]:
    return [int(name.removeprefix("accuracy_")) for name in log if name.startswith("accuracy_")]


def caption(tables: dict[str, Any]) -> str:
    """Epochs, time, and where loss and accuracy ended."""
    log = tables["training"]
    last = log.iloc[-1]
    ended = ", ".join(f"{last[f'accuracy_{number}']:.1%}" for number in _exits(log))
    return (
        f"{len(log)} epochs in {log.seconds.sum() / 60:.1f} minutes; the loss went from"
        f" {log.loss.iloc[0]:.3f} to {last.loss:.3f}. In the last epoch the exits were right on"
        f" {ended} of the train split as augmented, the network still changing; the accuracy on"
        " pictures that it was not trained on is in the other figures."
    )
