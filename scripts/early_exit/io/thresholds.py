"""Thresholds in tables: infinite ones are written as ``never`` and ``always``, as in policy.json.

Which infinity means which depends on the exit rule; the words do not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

NEVER, ALWAYS = "never", "always"
PREFIX, RULE = "threshold_", "exit_rule"


def as_words(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its thresholds as strings: numbers of nine digits, or words.

    Parameters
    ----------
    table
        With columns ``threshold_1`` ... and ``exit_rule``; any other is returned unchanged.
        Thresholds that are strings already keep all their digits.
    """
    columns = _columns(table)
    return table.assign(
        **{
            name: [_word(t, rule) for t, rule in zip(table[name], table[RULE], strict=True)]
            for name in columns
        }
    )


def as_numbers(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its thresholds as floats: infinite for words, NaN for empty cells.

    Raises
    ------
    ValueError
        If a threshold is neither a number nor a word.
    """
    columns = _columns(table)
    return table.assign(
        **{
            name: [_number(t, rule) for t, rule in zip(table[name], table[RULE], strict=True)]
            for name in columns
        }
    )


def _columns(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name.startswith(PREFIX)] if RULE in table else []


def _word(threshold: float | str, rule: str) -> str:
    number = float(threshold)
    if math.isnan(number):
        return ""
    if math.isinf(number):
        return ALWAYS if (number > 0) == (rule == "below") else NEVER
    return threshold if isinstance(threshold, str) else f"{number:.9g}"


def _number(cell: str, rule: str) -> float:
    if cell in (NEVER, ALWAYS):
        return math.inf if (cell == ALWAYS) == (rule == "below") else -math.inf
    return float(cell) if cell else math.nan
