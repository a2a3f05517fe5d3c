"""Timing one call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def milliseconds(function: Callable, *arguments: Any) -> float:
    """Wall-clock milliseconds of one call."""
    start = time.perf_counter()
    function(*arguments)
    return 1e3 * (time.perf_counter() - start)
