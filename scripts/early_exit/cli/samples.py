"""New samples that are no images: files that a data set reads, arrays, lines of text or of JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from early_exit.cli.images import STANDARD_INPUT, find
from early_exit.cli.main import FINE, NOTHING_DONE, SOME_BAD, report
from early_exit.datasets.arrays import Arrays, mapped, named
from early_exit.datasets.labels import checked_labels
from early_exit.datasets.new import NewSamples, read_arrays
from early_exit.errors import InputError, reason_of
from early_exit.io.names import shown

# Bytes of a line; a longer one is bad.
LONGEST_LINE = 1 << 26


@dataclass
class Samples:
    """Reads samples in batches; a bad one is reported on standard error and skipped.

    Attributes
    ----------
    names
        Of the samples, in order: a path, or a file with the number of a line or row.
    raw
        The raw sample of an index; raises an InputError for a bad one.
    inputs
        From raw samples to inputs, the samples first; raises an InputError if any is bad.
    size
        Samples in a batch.
    labels
        Known labels, or ``None``.
    good, bad
        Number of samples that could be read, and that could not.
    """

    names: list[str]
    raw: Callable[[int], Any]
    inputs: Callable[[Sequence[Any]], Arrays]
    size: int
    labels: list[int] | None = None
    good: int = 0
    bad: int = 0

    # What a sample is called in results, and its unit on a progress bar.
    noun, unit = "input", "sample"

    def batches(self) -> Iterator[tuple[list[int], Arrays]]:
        """Batches of indices into ``names`` and inputs, NumPy arrays with the samples first."""
        pending: dict[int, Any] = {}
        for index in range(len(self.names)):
            try:
                pending[index] = self.raw(index)
            except InputError as error:
                self._skip(index, error)
            if len(pending) == self.size or (pending and index == len(self.names) - 1):
                yield from self._batch(pending)
                pending = {}

    def _batch(self, pending: dict[int, Any]) -> Iterator[tuple[list[int], Arrays]]:
        """One batch of those that are good; none if all are bad."""
        try:
            whole = self.inputs([*pending.values()])
        except InputError:
            # Which of them is bad?
            yield from self._one_by_one(pending)
            return
        self.good += len(pending)
        yield list(pending), whole

    def _one_by_one(self, pending: dict[int, Any]) -> Iterator[tuple[list[int], Arrays]]:
        good = {}
        for index, raw in pending.items():
            try:
                good[index] = self.inputs([raw])
            except InputError as error:
                self._skip(index, error)
        self.good += len(good)
        if good:
            yield list(good), mapped(lambda *parts: np.concatenate(parts), *good.values())

    def _skip(self, index: int, error: InputError) -> None:
        self.bad += 1
        report(f"{self.names[index]}: {error}")

    @property
    def status(self) -> int:
        """The exit status; reports if no sample was read."""
        if not self.good:
            report("no sample could be used" if self.bad else "found no samples")
            return NOTHING_DONE
        return SOME_BAD if self.bad else FINE


def from_files(given: list[str], new: NewSamples, size: int) -> Samples:
    """Files that the data set reads, one sample each; folders are walked."""
    names = find(given)

    def raw(index: int) -> Any:
        if names[index] == STANDARD_INPUT:
            raise InputError("the data set reads files", "give their paths")
        if not Path(names[index]).is_file():
            raise InputError("there is no such file")
        return new.read(names[index])

    return Samples(names, raw, new.inputs, size)


def from_lines(given: list[str], new: NewSamples, size: int, as_json: bool) -> Samples:
    """Lines of files or of standard input, one sample each; blank ones are left out."""
    names, lines = [], []
    for file in given:
        found = "standard input" if file == STANDARD_INPUT else file
        for number, line in enumerate(_lines(file), start=1):
            if line.strip():
                names.append(f"{found}:{number}")
                lines.append(line)

    def raw(index: int) -> Any:
        text = _text(lines[index])
        return _parsed(text) if as_json else text

    return Samples(names, raw, new.inputs, size)


def from_arrays(file: str, new: NewSamples, size: int, images: bool) -> Samples:
    """Rows of the arrays in a NumPy file, one sample each."""
    arrays, labels = read_arrays(Path(file), new.expected, images)
    lengths = {name: len(one) if one.ndim else 0 for name, one in named(arrays)}
    count = next(iter(lengths.values()))
    if apart := [name for name, length in lengths.items() if length != count]:
        raise InputError(f"{file}: the arrays differ in length, {shown(apart[0])} the first")
    if labels is not None:
        labels = checked_labels(labels, f"{file}: labels").tolist()
        if len(labels) != count:
            raise InputError(f"{file}: {count} inputs, but {len(labels)} labels")
    names = [f"{file}[{row}]" for row in range(count)]
    # Before the network runs: of the wrong shape, every single one would be reported.
    if count:
        new.stacked([_row(arrays, 0)])
    return Samples(names, lambda row: _row(arrays, row), new.stacked, size, labels)


def _row(arrays: Arrays, row: int) -> Arrays:
    return mapped(lambda one: one[row], arrays)


def _lines(file: str) -> list[bytes]:
    if file == STANDARD_INPUT:
        return sys.stdin.buffer.read().splitlines()
    return Path(file).read_bytes().splitlines()


def _text(line: bytes) -> str:
    if len(line) > LONGEST_LINE:
        raise InputError(f"a line of {len(line):,} bytes, but at most {LONGEST_LINE:,}")
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 ({error.reason} at byte {error.start + 1})") from error


def _parsed(text: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({reason_of(error)})") from error
