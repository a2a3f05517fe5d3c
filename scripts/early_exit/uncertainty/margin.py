"""One minus the gap between the two largest class probabilities.

After Scheffer, Decomain and Wrobel (2001), section 3.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from early_exit.uncertainty.softmax import softmax


def uncertainty(logits: Any) -> Any:
    """1 - (p1 - p2) for ``logits`` ``(..., C)``, C at least 2, dimensionless, shape ``(...)``."""
    xp = array_namespace(logits)
    ordered = xp.sort(softmax(logits), axis=-1)
    return 1.0 - (ordered[..., -1] - ordered[..., -2])


def maximum(classes: int) -> float:
    """1, where the two largest are equal."""
    return 1.0
