"""Pictures that are named on the command line: files, folders, standard input."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from early_exit.cli import FINE, NOTHING_DONE, SOME_BAD, tell
from early_exit.errors import InputError
from early_exit.pictures import read_picture

STANDARD_INPUT = "-"


def find(given: list[str]) -> list[str]:
    """The files that are meant, in order; folders are walked, sorted, hidden files left out."""
    return [found for name in given for found in _below(Path(name), name)]


def _below(path: Path, name: str) -> Iterator[str]:
    if name == STANDARD_INPUT or not path.is_dir():
        yield name
        return
    for child in sorted(path.iterdir()):
        # A link to a folder may lead round in a circle.
        if not child.name.startswith(".") and not (child.is_symlink() and child.is_dir()):
            yield from _below(child, str(child))


@dataclass
class Reader:
    """Reads pictures in batches; a bad one is told on standard error, and skipped.

    Attributes
    ----------
    shape
        Channels, height and width.
    size
        Pictures in a batch.
    good, bad
        How many could be read, and how many not.
    """

    shape: list[int]
    size: int
    good: int = 0
    bad: int = 0

    def batches(self, names: list[str]) -> Iterator[tuple[list[int], np.ndarray]]:
        """Batches: places in ``names``, and pictures (N, channels, height, width), uint8."""
        batch: dict[int, np.ndarray] = {}
        for place, name in enumerate(names):
            picture = self._read(name)
            if picture is not None:
                batch[place] = picture
            if len(batch) == self.size or (batch and place == len(names) - 1):
                yield list(batch), np.stack(list(batch.values()))
                batch = {}

    def _read(self, name: str) -> np.ndarray | None:
        try:
            picture = read_picture(_opened(name), self.shape)
        except InputError as error:
            self.bad += 1
            tell(str(error))
            return None
        self.good += 1
        return picture

    @property
    def status(self) -> int:
        """The exit status that says how it went."""
        if not self.good:
            tell("no picture was read" if self.bad else "no pictures there")
            return NOTHING_DONE
        return SOME_BAD if self.bad else FINE


def _opened(name: str) -> str | io.BytesIO:
    if name != STANDARD_INPUT:
        return name
    content = io.BytesIO(sys.stdin.buffer.read())
    content.name = "standard input"
    return content
