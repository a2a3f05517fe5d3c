"""Patience with a threshold: agreements in a row first, and among equals the margin.

With a threshold for each exit a sample exits if more exits than t agree (Zhou et al. 2020, BERT
loses patience), or just t and the margin is large enough. Patient and confident early exiting
(Zhang et al. 2022, PCEE-BERT) counts confident exits in a row instead.
"""

from __future__ import annotations

from typing import Any

from early_exit.records.uncertainty import patience
from early_exit.records.uncertainty.features import margin

EARLIER = True


def step(
    logits: Any, memory: tuple[Any, ...], exit: int, parameters: dict[str, Any]
) -> tuple[Any, None, tuple[Any, ...]]:
    """Between 1 / (2 + agreements) and 1 / (1 + agreements), by one minus the margin."""
    most, _, memory = patience.step(logits, memory, exit, parameters)
    least = 1 / (1 + 1 / most)
    return least + (1 - margin(logits)) * (most - least), None, memory


def maximum(classes: int) -> float:
    """The largest value: 1."""
    return 1.0
