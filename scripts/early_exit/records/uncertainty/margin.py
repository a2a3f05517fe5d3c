"""One minus the gap between the two largest class probabilities.

After Scheffer, Decomain and Wrobel (2001), section 3.
"""

from __future__ import annotations

from typing import Any

from early_exit.records.uncertainty.backend import largest_two, special


def uncertainty(logits: Any) -> Any:
    """1 - (p1 - p2) for ``logits`` ``(..., C)``, C at least 2, dimensionless, shape ``(...)``."""
    first, second = largest_two(special(logits).softmax(logits, -1))
    # Not 1 - (first - second), which is the same number, but takes torch longer.
    return (second - first) + 1.0


def maximum(classes: int) -> float:
    """The largest value: 1, for two equal largest probabilities."""
    return 1.0
