"""Patience: exits in a row that predict the same class (Zhou et al. 2020, BERT loses patience).

The paper's rule, to exit once t + 1 exits in a row agree, is one threshold for all exits; here each
exit may have its own.
"""

from __future__ import annotations

from typing import Any

from early_exit.records.uncertainty.backend import like

# Earlier exits are compared with, so their heads run.
EARLIER = True


def step(
    logits: Any, memory: tuple[Any, ...], exit: int, parameters: dict[str, Any]
) -> tuple[Any, None, tuple[Any, ...]]:
    """1 / (1 + agreements), where agreements is how often in a row the last exits agreed.

    ``memory`` has the last prediction and the agreements so far.
    """
    prediction = logits.argmax(-1)
    agreements = like(logits, prediction) * 0
    if memory:
        last, before = memory
        agreements = (before + 1) * like(logits, last == prediction)
    return 1 / (1 + agreements), None, (prediction, agreements)


def maximum(classes: int) -> float:
    """The largest value: 1, if the last exit disagrees."""
    return 1.0
