"""One minus the largest class probability (Hendrycks and Gimpel 2017, section 2)."""

from __future__ import annotations

from typing import Any

from early_exit.records.uncertainty.backend import arrays, special


def uncertainty(logits: Any) -> Any:
    """1 - max p for ``logits`` ``(..., C)``, dimensionless, shape ``(...)``."""
    return 1.0 - arrays(logits).amax(special(logits).softmax(logits, -1), -1)


def maximum(classes: int) -> float:
    """The largest value: 1 - 1/C."""
    return 1.0 - 1.0 / classes
