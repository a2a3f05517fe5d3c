"""Images named on the command line: files, folders, standard input."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from early_exit.cli.main import FINE, NOTHING_DONE, SOME_BAD, report
from early_exit.cli.options import MOST_PIXELS
from early_exit.datasets.images import load_image
from early_exit.errors import InputError
from early_exit.io.images import BYTES_A_PIXEL

STANDARD_INPUT = "-"
MOST_BYTES = BYTES_A_PIXEL * MOST_PIXELS


def find(given: list[str]) -> list[str]:
    """Paths of the named images, in order; folders are walked, sorted, without hidden files.

    The paths include what is no regular file, and folders that cannot be read: the reader reports
    them.
    """
    found = []
    for name in given:
        # Path("") would be the current folder.
        pending = [(Path(name), name, True)] if name else []
        found += [] if name else [name]
        while pending:
            path, shown_as, is_given = pending.pop()
            inside = _inside(path, shown_as, is_given)
            if inside is None:
                found.append(shown_as)
            else:
                pending += [(child, str(child), False) for child in reversed(inside)]
    return found


def _inside(path: Path, name: str, is_given: bool) -> list[Path] | None:
    """Sorted content of a folder, without hidden files; ``None`` for what is to be read."""
    # Links to folders are not followed: they may form a cycle.
    if name == STANDARD_INPUT or not path.is_dir():
        return None
    if path.is_symlink() and not is_given:
        return []
    try:
        return sorted(child for child in path.iterdir() if not child.name.startswith("."))
    except OSError:
        return None


@dataclass
class Reader:
    """Reads images in batches; a bad one is reported on standard error and skipped.

    Attributes
    ----------
    shape
        Channels, height and width.
    names
        Paths of the images, in order.
    size
        Images in a batch.
    max_pixels
        Images with more pixels are bad; ``None`` for the default limit.
    good, bad
        Number of images that could be read, and that could not.
    """

    shape: list[int]
    names: list[str]
    size: int
    max_pixels: int | None = None
    good: int = 0
    bad: int = 0

    # What a sample is called in results, and its unit on a progress bar; none has a known label.
    noun, unit, labels = "image", "img", None

    def batches(self) -> Iterator[tuple[list[int], np.ndarray]]:
        """Batches of indices into ``names`` and images (N, channels, height, width), uint8."""
        batch: dict[int, np.ndarray] = {}
        for index, name in enumerate(self.names):
            image = self._read(name)
            if image is not None:
                batch[index] = image
            if len(batch) == self.size or (batch and index == len(self.names) - 1):
                yield list(batch), np.stack(list(batch.values()))
                batch = {}

    def _read(self, name: str) -> np.ndarray | None:
        try:
            image = load_image(_opened(name), self.shape, self.max_pixels)
        except InputError as error:
            self.bad += 1
            report(str(error))
            return None
        self.good += 1
        return image

    @property
    def status(self) -> int:
        """The exit status; reports if no image was read."""
        if not self.good:
            report("no image was read" if self.bad else "found no images")
            return NOTHING_DONE
        return SOME_BAD if self.bad else FINE


def _opened(name: str) -> str | io.BytesIO:
    if name != STANDARD_INPUT:
        return name
    # One byte more than the limit is enough to refuse it.
    content = io.BytesIO(sys.stdin.buffer.read(MOST_BYTES + 1))
    content.name = "standard input"
    return content
