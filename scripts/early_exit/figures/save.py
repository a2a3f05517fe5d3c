"""Drawing a figure into files.

Each figure is a module with two functions, ``draw(tables) -> matplotlib.figure.Figure`` and
``caption(tables) -> str``, one paragraph that says what to see, and states the numbers. ``tables``
maps the job's input names to DataFrames (CSV) and dictionaries (JSON), and ``experiment`` to its
name. To add a figure, add a module here, and its tables and title in ``rules/figures.smk``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.io.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _settle(figure: Figure) -> None:
    """Round the layout: its solver's last digits differ between runs, and so would the files."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(number, 4) for number in axes.get_position().bounds])


def save_figure(name: str, tables: dict[str, Any], folder: Path) -> None:
    """Write ``name.svg``, ``name.png`` and the caption, ``name.txt``."""
    import matplotlib

    # A job has no display. Not at import: a notebook must keep its own backend.
    matplotlib.use("agg")
    from matplotlib import pyplot

    from early_exit.figures.style import styled

    module = import_module(f"early_exit.figures.{name}")
    with styled():
        figure = module.draw(tables)
        _settle(figure)
        for suffix in (".svg", ".png"):
            with replacing(folder / f"{name}{suffix}") as temporary:
                # Without a date, equal numbers give equal files.
                metadata = {"Date": None} if suffix == ".svg" else None
                figure.savefig(temporary, metadata=metadata)
        pyplot.close(figure)
    with replacing(folder / f"{name}.txt") as temporary:
        temporary.write_text(module.caption(tables) + "\n", encoding="utf-8")
