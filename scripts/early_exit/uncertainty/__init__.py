"""How unsure an exit is of a sample: low is sure.

A measure is one module with one function, ``uncertainty(logits)``: it takes logits of shape
``(..., C)`` and gives uncertainties of shape ``(...)``. It is written once, in terms that torch and
numpy with scipy share, and so serves the records and the running network alike: the two cannot
drift apart.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

# Measures that are columns of the records; the others are computed from logits.
RECORDED = ("entropy", "given")


def measure(name: str) -> Callable[[Any], Any]:
    """The measure called ``name``: ``entropy``, ``max_probability`` or ``margin``."""
    return import_module(f"{__name__}.{name}").uncertainty


def maximum(name: str, classes: int) -> float:
    """The largest value of the measure called ``name``, taken where all classes are as likely."""
    return import_module(f"{__name__}.{name}").maximum(classes)
