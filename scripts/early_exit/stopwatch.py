"""Timing one call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from early_exit.engine import Engine


def milliseconds(function: Callable, *arguments: Any, engine: Engine) -> float:
    """Wall-clock milliseconds of one call, the device's work done before and after."""
    engine.synchronise()
    start = time.perf_counter()
    function(*arguments)
    engine.synchronise()
    return 1e3 * (time.perf_counter() - start)
