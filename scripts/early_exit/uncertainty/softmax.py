"""Class probabilities from logits, in the array API, without overflow."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace


def log_softmax(logits: Any) -> Any:
    """Logarithms of the class probabilities, shape ``(..., C)``; finite for finite logits."""
    xp = array_namespace(logits)
    shifted = logits - xp.max(logits, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def softmax(logits: Any) -> Any:
    """Class probabilities, shape ``(..., C)``, summing to 1 over the last axis."""
    return array_namespace(logits).exp(log_softmax(logits))
