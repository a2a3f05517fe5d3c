"""Shannon entropy in nats, BranchyNet's measure (Teerapittayanon et al. 2016, section III-C)."""

from __future__ import annotations

import math
from typing import Any

from early_exit.records.uncertainty.backend import special


def uncertainty(logits: Any) -> Any:
    """Entropy of the softmax of ``logits`` ``(..., C)``, in nats, shape ``(...)``.

    ``entr(p)`` is -p ln p, and 0 for p = 0, so finite logits never give NaN.
    """
    functions = special(logits)
    return functions.entr(functions.softmax(logits, -1)).sum(-1)


def maximum(classes: int) -> float:
    """The largest entropy: ln C, in nats."""
    return math.log(classes)
