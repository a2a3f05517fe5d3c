"""One minus the gap between the two largest class probabilities.

After Scheffer, Decomain and Wrobel (2001), section 3.
"""

from __future__ import annotations

from typing import Any

from early_exit.records.uncertainty.backend import arrays, special


def uncertainty(logits: Any) -> Any:
    """1 - (p1 - p2) for ``logits`` ``(..., C)``, C at least 2, dimensionless, shape ``(...)``."""
    ordered = arrays(logits).sort(special(logits).softmax(logits, -1), -1)
    # torch returns indices as well.
    ordered = getattr(ordered, "values", ordered)
    return 1.0 - (ordered[..., -1] - ordered[..., -2])


def maximum(classes: int) -> float:
    """The largest value: 1, for two equal largest probabilities."""
    return 1.0
