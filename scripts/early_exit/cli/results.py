"""Standard output for results alone, without what a network prints."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

STANDARD_ERROR = 2


@contextmanager
def only_results() -> Iterator[TextIO]:
    """A stream to standard output; other output in the block is redirected to standard error.

    Output of C code and of child processes is redirected, too. Characters that standard output
    cannot encode are escaped.
    """
    results = sys.stdout
    try:
        number = results.fileno()
    # The caller has replaced standard output with something that is no file.
    except (OSError, ValueError):
        with redirect_stdout(sys.stderr):
            yield results
        return
    results.flush()
    kept = os.dup(number)
    os.dup2(STANDARD_ERROR, number)
    try:
        with (
            redirect_stdout(sys.stderr),
            open(os.dup(kept), "w", encoding=results.encoding, errors="backslashreplace") as alone,
        ):
            yield alone
    finally:
        # Flush the buffers of C.
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, number)
        os.close(kept)
