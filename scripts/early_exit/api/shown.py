"""Text and HTML representations of the API's objects."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


class Shown:
    """An object that is shown as a title and lines, each with a label and a text."""

    def _title(self) -> str:
        return type(self).__name__

    def _lines(self) -> dict[str, str]:
        raise NotImplementedError

    def __repr__(self) -> str:
        lines = self._lines()
        width = max(map(len, lines), default=0)
        shown = [f"  {label:<{width}}  {text}" for label, text in lines.items()]
        return "\n".join([self._title(), *shown])

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align:left">{escape(label)}</th>'
            f'<td style="text-align:left">{escape(text)}</td></tr>'
            for label, text in self._lines().items()
        )
        return f"<table><caption>{escape(self._title())}</caption>{rows}</table>"


def percent(share: float) -> str:
    """Format a share in percent: ``84.32 %``."""
    return f"{100 * share:.2f} %"


def shares(values) -> str:
    """Format shares in percent: ``61.3 %, 20.1 %, 18.6 %``."""
    return ", ".join(f"{100 * value:.1f} %" for value in values)


def any_of(words: Sequence[str]) -> str:
    """Join words with commas and ``or``: ``a, b or c``."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last
