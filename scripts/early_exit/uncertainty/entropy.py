"""Shannon entropy in nats, BranchyNet's measure (Teerapittayanon et al. 2016, section III-C)."""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import array_namespace

from early_exit.uncertainty.softmax import log_softmax


def uncertainty(logits: Any) -> Any:
    """Entropy of the softmax of ``logits`` ``(..., C)``, in nats, shape ``(...)``.

    The logarithm is taken before the exponential, so a probability that underflows to 0 meets a
    finite logarithm and adds 0: finite logits never give NaN.
    """
    xp = array_namespace(logits)
    log_probability = log_softmax(logits)
    # Adding 0 turns the -0 of a saturated softmax into 0.
    return 0.0 - xp.sum(xp.exp(log_probability) * log_probability, axis=-1)


def maximum(classes: int) -> float:
    """ln C, in nats."""
    return math.log(classes)
