"""What criteria see of an exit's logits, and of the exits before."""

from __future__ import annotations

import math
from typing import Any

from early_exit.records.uncertainty.backend import arrays, largest_two, like, log_softmax


def largest_probabilities(logits: Any) -> tuple[Any, Any]:
    """The largest and the second largest class probability, shape (N,), of logits (N, C)."""
    return largest_two(arrays(logits).exp(log_softmax(logits)))


def margin(logits: Any) -> Any:
    """The gap between the two largest class probabilities, shape (N,)."""
    first, second = largest_probabilities(logits)
    return first - second


def seen(logits: Any, earlier: tuple[Any, ...]) -> tuple[list[Any], Any]:
    """The features of an exit, each of shape (N,), and its predictions (N,).

    They are the largest probability, the entropy as a share of ln C, the margin, and the share of
    ``earlier`` exits' predictions that are the same (0 at the first exit).
    """
    functions = arrays(logits)
    first, second = largest_probabilities(logits)
    log = log_softmax(logits)
    # 0 ln 0 is 0; the logarithm is finite for finite logits.
    entropy = -(functions.exp(log) * log).sum(-1) / math.log(logits.shape[-1])
    prediction = logits.argmax(-1)
    agreement = first * 0
    for other in earlier:
        agreement = agreement + like(first, other == prediction) / len(earlier)
    return [first, entropy, first - second, agreement], prediction
