"""Drawing on given or new axes in the style of the workflow's figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@contextmanager
def drawing(ax: Axes | None, size: tuple[float, float] = (6.4, 4.4)) -> Iterator[Axes]:
    """Context with ``ax``, or with the axes of a new figure of ``size`` inches."""
    from matplotlib import interactive, is_interactive, pyplot

    from early_exit.figures.style import styled

    with styled():
        yield pyplot.subplots(figsize=size)[1] if ax is None else ax
        shows = is_interactive()
    # The first figure sets up a notebook's backend, and leaving the context undoes it: without this
    # no later figure would be shown.
    interactive(shows)


def summary_for_style(cost_unit: str) -> dict[str, Any]:
    """The part of a summary that :func:`early_exit.figures.style.cost_shown` reads."""
    return {"cost_unit": cost_unit}
