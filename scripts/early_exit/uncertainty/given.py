"""The uncertainty that records from elsewhere came with: a column, and no function of logits.

Its unit and its range are those of whoever made it; low is sure.
"""

from __future__ import annotations

import math
from typing import Any

from early_exit.errors import InputError


def uncertainty(logits: Any) -> Any:
    """Refused: no logits tell it."""
    raise InputError(
        "measure: given is what records from elsewhere came with; a network gives logits, so set"
        " it to entropy, max_probability or margin"
    )


def maximum(classes: int) -> float:
    """Infinite: the range is not known."""
    return math.inf
