"""The figures. One module each, with two functions of the tables that a stage read:

``draw(tables) -> matplotlib.figure.Figure`` and ``caption(tables) -> str``, one or two sentences
that state the numbers. ``tables`` maps the job's input names to DataFrames (CSV) and dictionaries
(JSON), and ``experiment`` to its name. Adding a figure means one new module here and its name in
``rules/figures.smk``.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _settle(figure: Figure) -> None:
    """Fix the layout: its solver's last digits differ from run to run, and so would the files."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(number, 4) for number in axes.get_position().bounds])


def save(name: str, tables: dict[str, Any], folder: Path) -> None:
    """Write ``name.svg``, ``name.png`` and the caption's numbers, ``name.txt``."""
    from matplotlib import pyplot

    from early_exit.figures.style import styled

    module = import_module(f"{__name__}.{name}")
    with styled():
        figure = module.draw(tables)
        _settle(figure)
        for suffix in (".svg", ".png"):
            with replacing(folder / f"{name}{suffix}") as temporary:
                # Without a date the same numbers give the same file.
                metadata = {"Date": None} if suffix == ".svg" else None
                figure.savefig(temporary, metadata=metadata)
        pyplot.close(figure)
    with replacing(folder / f"{name}.txt") as temporary:
        temporary.write_text(module.caption(tables) + "\n", encoding="utf-8")
