"""Energy of the logits (Liu et al. 2020, Energy-based out-of-distribution detection, section 3.1).

The energy is -ln sum exp(logits): low where the network is sure. It is mapped to between 0 and 1,
its order unchanged.
"""

from __future__ import annotations

from typing import Any

from early_exit.records.uncertainty.backend import arrays


def uncertainty(logits: Any) -> Any:
    """(1 + E / (1 + |E|)) / 2 with the energy E of ``logits`` ``(..., C)``, shape ``(...)``."""
    functions = arrays(logits)
    largest = functions.amax(logits, -1)
    energy = -largest - functions.log(functions.exp(logits - largest[..., None]).sum(-1))
    return (1 + energy / (1 + abs(energy))) / 2


def maximum(classes: int) -> float:
    """The largest value: 1."""
    return 1.0
