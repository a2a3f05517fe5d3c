"""Some samples that exit at each exit: a row of images for each exit, wrong ones framed."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from early_exit.figures import style

# Samples of a row, at most so many of them wrong, and rows.
MOST, WRONG, ROWS = 12, 4, 8
# Height of a row: the image of height 1, its label, and a gap.
STEP = 1.42


def choose(exits: np.ndarray, right: np.ndarray, seed: int = 0) -> dict[int, np.ndarray]:
    """Rows of some samples of each exit, drawn at random, the wrong ones first.

    Parameters
    ----------
    exits
        Shape (N,), the exit of each sample, from 1.
    right
        Shape (N,), whether it is classified correctly.

    Returns
    -------
    dict
        At most :data:`MOST` rows for each exit that samples take, at most :data:`WRONG` of them
        wrong unless too few are right.
    """
    chance = np.random.default_rng(seed)
    found = {}
    for number in np.unique(exits):
        wrong = chance.permutation(np.flatnonzero((exits == number) & ~right))
        correct = chance.permutation(np.flatnonzero((exits == number) & right))
        few = wrong[: max(WRONG, MOST - len(correct))]
        found[int(number)] = np.concatenate([few, correct[: MOST - len(few)]])
    return found


def draw(tables: dict[str, Any]) -> Figure:
    """A row for each exit that samples take, or for some of many.

    ``samples`` has a row for each sample: ``index``, ``label``, ``prediction``, ``exit``;
    ``shown`` is what :func:`choose` returns, ``images`` maps its rows to arrays (height, width,
    channels), uint8, and is ``None`` for inputs that are no images; ``class_names`` is a list.
    """
    samples, shown = tables["samples"], tables["shown"]
    numbers = [list(shown)[n - 1] for n in style.spread(len(shown), ROWS)]
    figure, axes = pyplot.subplots(figsize=(13, 0.9 + 1.22 * len(numbers)))
    axes.axis("off")
    axes.set(xlim=(-2.2, MOST * 1.12), ylim=(STEP * len(numbers), -0.1))
    axes.set_aspect("equal")
    for place, number in enumerate(numbers):
        own = samples[samples.exit == number]
        wrong = (own.label != own.prediction).mean()
        words = f"exit {number}\n{len(own):,} samples\n{wrong:.1%} wrong"
        axes.text(-2.15, STEP * place + 0.5, words, va="center", fontsize=9)
        for column, row in enumerate(shown[number]):
            _sample(axes, tables, row, 1.12 * column, STEP * place)
    # Images set the limits anew.
    axes.set(xlim=(-2.2, MOST * 1.12), ylim=(STEP * len(numbers), -0.1))
    style.title(figure, f"{tables['experiment']}: test samples that exit at each exit (red: wrong)")
    return figure


def _sample(axes: Axes, tables: dict[str, Any], row: int, left: float, top: float) -> None:
    """Draw one sample in a square, framed if it is wrong, with what it is and was taken for."""
    # As integers, which a row of a table with other columns is not.
    columns = tables["samples"][["index", "label", "prediction"]]
    (index, label, prediction), names = columns.iloc[row].astype(int), tables["class_names"]
    wrong = label != prediction
    if tables["images"] is None:
        where = {"ha": "center", "va": "center", "fontsize": 8}
        axes.text(left + 0.5, top + 0.5, f"no. {index}", **where)
    else:
        box = (left, left + 1, top + 1, top)
        look = {"cmap": "gray", "vmin": 0, "vmax": 255} if tables["images"][row].ndim == 2 else {}
        axes.imshow(tables["images"][row], extent=box, interpolation="nearest", **look)
    colour, width = (style.RED, 2.5) if wrong else ("#C8C8C8", 0.6)
    axes.add_patch(Rectangle((left, top), 1, 1, fill=False, edgecolor=colour, linewidth=width))
    is_named, taken_for = (style.short(str(names[c]), 12) for c in (label, prediction))
    words = f"{taken_for}\nis {is_named}" if wrong else is_named
    axes.text(
        left + 0.5,
        top + 1.04,
        words,
        ha="center",
        va="top",
        fontsize=6.5,
        linespacing=0.95,
        color=style.RED if wrong else "#444444",
    )


def caption(tables: dict[str, Any]) -> str:
    """How the samples were drawn, and the share of wrong ones by exit."""
    samples = tables["samples"]
    wrong = (samples.label != samples.prediction).groupby(samples.exit).mean()
    each = ", ".join(f"exit {number} {share:.1%}" for number, share in wrong.items())
    return (
        "Easy samples exit early: compare the rows. Samples of each exit are drawn at random, but"
        f" at most {WRONG} of up to {MOST} are wrong: these come first, with a red frame, the class"
        " that they were taken for, and the one that they are. Wrong of all that exit there:"
        f" {each}."
    )
