"""The limits of the fuzz tests take effect."""

from __future__ import annotations

import time

import numpy as np
import pytest

from early_exit.errors import InputError
from fuzzing import generator, limits, taken_or_refused


def test_time_is_limited():
    with pytest.raises(TimeoutError), limits(seconds=0.1):
        time.sleep(5)


def test_memory_is_limited():
    # More than what other tests may have freed and the process still holds; never touched.
    size = 2**31
    with pytest.raises(MemoryError), limits(mebibytes=64):
        np.empty(size, np.uint8)
    assert np.empty(size, np.uint8).size == size


def test_refused_means_one_plain_line():
    def refuse(message: str) -> None:
        raise InputError(message)

    assert taken_or_refused(refuse, "one line") == (None, "one line")
    assert taken_or_refused(lambda: 3) == (3, None)
    for bad in ("two\nlines", "an \x1b[1mescape", "", "x" * 3000):
        with pytest.raises(AssertionError):
            taken_or_refused(refuse, bad)
    with pytest.raises(KeyError):
        taken_or_refused({}.__getitem__, "missing")


def test_a_case_is_the_same_in_every_run():
    first, again = generator("records", 3), generator("records", 3)
    assert first.integers(0, 2**60) == again.integers(0, 2**60)
    assert generator("records", 4).integers(0, 2**60) != generator("images", 4).integers(0, 2**60)
