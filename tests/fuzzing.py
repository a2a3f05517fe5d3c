"""Shared by fuzz tests: number of cases, random generator and limits of a case.

A *door* is where something from outside comes in: records, checkpoints, images, configurations,
downloads. Each has one module test_fuzz_*.py whose cases are drawn by a seed. A case is taken
rightly, or refused in one line (:class:`~early_exit.errors.InputError`), within the limits.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from early_exit.errors import InputError

# Cases for each kind of input; `make test` sets 50.
CASES = int(os.environ.get("FUZZ_CASES", "300"))
SECONDS, MEBIBYTES = 20.0, 1024


def generator(door: str, case: int) -> np.random.Generator:
    """Random generator of a case, the same in every run."""
    return np.random.default_rng([case, *door.encode()])


@contextmanager
def limits(seconds: float = SECONDS, mebibytes: int = MEBIBYTES) -> Iterator[None]:
    """Limit the time of a block, and its memory beyond what the process has.

    Raises
    ------
    TimeoutError, MemoryError
        From inside the block, wherever it is.
    """
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)

    def too_long(*_: Any) -> None:
        raise TimeoutError(f"took more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_AS, (used + mebibytes * 2**20, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


def taken_or_refused(
    function: Callable[..., Any], *arguments: Any, seconds: float = SECONDS, **named: Any
) -> tuple[Any, str | None]:
    """Result of a call and ``None``, or ``None`` and its one-line error.

    Any other error, or more than one line, fails the test.
    """
    try:
        with limits(seconds):
            return function(*arguments, **named), None
    except InputError as error:
        message = str(error)
    assert message and message.isprintable(), f"not one plain line: {message!r}"
    assert len(message) < 2000, f"a dump, not a message: {message[:200]!r}..."
    return None, message
