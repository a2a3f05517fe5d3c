"""One minus the largest class probability (Hendrycks and Gimpel 2017, section 2)."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

from early_exit.uncertainty.softmax import softmax


def uncertainty(logits: Any) -> Any:
    """1 - max p for ``logits`` ``(..., C)``, dimensionless, shape ``(...)``."""
    xp = array_namespace(logits)
    return 1.0 - xp.max(softmax(logits), axis=-1)


def maximum(classes: int) -> float:
    """1 - 1/C."""
    return 1.0 - 1.0 / classes
