"""New samples for a network: raw ones, as a data set prepares them, or arrays.

A class of the user's (:mod:`early_exit.datasets.custom`) may have

``prepare(raw) -> inputs``
    From a list of raw samples (texts, what ``read`` returned, what a line of JSON holds), inputs of
    as many samples, of the same structure, types and shapes as those of ``split``.
``read(path) -> raw``
    One raw sample from a file or, if there is no ``prepare``, its inputs without the axis of
    samples.
``text``
    ``True`` if raw samples are lines of text.

and a module of this package the same: ``prepare_new(raw, manifest)``, where ``manifest["state"]``
is the ``state`` of its :class:`~early_exit.datasets.base.Contents`; ``read_new(path)``; ``TEXT``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from early_exit.config.code_file import code_file
from early_exit.config.trusted_code import trusted_file
from early_exit.datasets.arrays import (
    Arrays,
    check_same_kinds,
    checked_inputs,
    length,
    mapped,
    named,
)
from early_exit.datasets.npz import IMAGES, INPUT, INPUTS, LABELS, channels_first
from early_exit.datasets.own_class import OwnClass
from early_exit.errors import InputError, reason_of
from early_exit.io.names import shown
from early_exit.structures.examples import decode

PACKAGE = "early_exit.datasets"


@dataclass(frozen=True)
class NewSamples:
    """Turns raw samples into a network's inputs.

    Attributes
    ----------
    expected
        Two samples as the network takes them, NumPy arrays; of images, black ones.
    prepare
        From a list of raw samples to inputs; ``None`` if raw samples are inputs themselves.
    read
        From a path to a raw sample; ``None`` if the data set reads no files.
    text
        Whether raw samples are lines of text.
    """

    expected: Arrays
    prepare: Callable[[list[Any]], Any] | None = None
    read: Callable[[str], Any] | None = None
    text: bool = False

    def inputs(self, raw: Sequence[Any]) -> Arrays:
        """Inputs of raw samples, the samples first.

        Raises
        ------
        InputError
            If they cannot be prepared, or are not of the structure, types and shapes expected.
        """
        if self.prepare is None:
            return self.stacked(raw)
        found = checked_inputs(self.prepare([*raw]), "prepare(raw)")
        if length(found) != len(raw):
            raise InputError(f"prepare(raw): {length(found)} inputs from {len(raw)} raw samples")
        return self.fitted(found, "prepare(raw)")

    def stacked(self, samples: Sequence[Any]) -> Arrays:
        """Samples, each without the axis of samples, as arrays with it.

        Raises
        ------
        InputError
            If they are not of the structure, types and shapes expected.
        """
        like = mapped(lambda one: one[0], self.expected)
        return self.fitted(mapped(_stack, like, *(_like(like, one) for one in samples)), "input")

    def fitted(self, found: Arrays, where: str) -> Arrays:
        """Inputs in the types that the network takes, where these hold the same values.

        Raises
        ------
        InputError
            If they are not of the structure, types and shapes expected.
        """
        found = checked_inputs(found, where)
        if [name for name, _ in named(found)] == [name for name, _ in named(self.expected)]:
            found = mapped(_cast, self.expected, found)
        check_same_kinds(self.expected, found, where, "the network takes")
        return found


def new_samples(manifest: dict[str, Any], trusted: Iterable[str], where: str) -> NewSamples:
    """How new samples of a data set become inputs.

    Parameters
    ----------
    manifest
        Of the data set.
    trusted
        Classes in files, ``path/to/file.py:ClassName``, that may be run.
    where
        Path of the manifest, for messages.

    Raises
    ------
    InputError
        If the data set is code in a file that is not trusted or was changed.
    """
    expected = expected_inputs(manifest, where)
    name = str(manifest.get("dataset"))
    if code_file(name):
        file = trusted_file(name, manifest.get("source"), trusted, where, "data set")
        settings = {"name": name, **manifest["settings"]}
        own = OwnClass.made(settings, None, manifest.get("state"), file)
        methods = [partial(own.call, one) if own.has(one) else None for one in ("prepare", "read")]
        return NewSamples(expected, *methods, own.text)
    known = name.isidentifier() and find_spec(f"{PACKAGE}.{name}")
    module = import_module(f"{PACKAGE}.{name}") if known else None
    prepare, read = (getattr(module, one, None) for one in ("prepare_new", "read_new"))
    bound = prepare and (lambda raw: prepare(raw, manifest))
    return NewSamples(expected, bound, read, getattr(module, "TEXT", False))


def expected_inputs(manifest: dict[str, Any], where: str) -> Arrays:
    """Two samples as a manifest describes them.

    Raises
    ------
    InputError
        If it describes none.
    """
    try:
        if manifest.get("shape") is not None:
            return np.zeros((2, *manifest["shape"]), np.uint8)
        return decode(manifest["inputs"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: describes no inputs ({reason_of(error)})") from error


def read_arrays(path: Path, expected: Arrays, images: bool) -> tuple[Arrays, np.ndarray | None]:
    """New inputs in a NumPy file, not yet compared with ``expected``, and its ``labels``, if any.

    They are called as in the file of a data set, :mod:`early_exit.datasets.npz`: ``images``,
    ``inputs`` or ``input_NAME``; parts of a tuple ``input_0``, ``input_1``, ...

    Raises
    ------
    InputError
        If the file cannot be read, lacks one of the arrays.
    """
    keys: dict[str, Any] = {IMAGES if images else INPUTS: None}
    if isinstance(expected, dict | tuple):
        every = expected if isinstance(expected, dict) else range(len(expected))
        keys = {f"{INPUT}{key}": key for key in every}
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = {key: file[name] for name, key in keys.items() if name in file.files}
            labels = file[LABELS] if LABELS in file.files else None
            listed = ", ".join(shown(name) for name in file.files[:20]) or "nothing"
    # A damaged file can make the reader raise anything.
    except Exception as error:
        raise InputError(
            f"{path}: no arrays that can be read safely ({reason_of(error)})"
        ) from error
    if missing := [name for name, key in keys.items() if key not in found]:
        raise InputError(f"{path}: has no {missing[0]}", f"it has: {listed}")
    if isinstance(expected, dict):
        return found, labels
    if isinstance(expected, tuple):
        return tuple(found[number] for number in range(len(expected))), labels
    return channels_first(found[None], f"{path}: {IMAGES}") if images else found[None], labels


def _like(expected: Arrays, given: Any) -> Arrays:
    """A sample in the structure expected, its arrays not yet checked."""
    if isinstance(expected, dict):
        if not isinstance(given, dict) or {*given} != {*expected}:
            raise InputError(f"input: must have the keys {', '.join(expected)}, and no others")
        return {key: _like(one, given[key]) for key, one in expected.items()}
    if isinstance(expected, tuple):
        if not isinstance(given, tuple | list) or len(given) != len(expected):
            raise InputError(f"input: must be a list of {len(expected)} parts")
        return tuple(_like(one, part) for one, part in zip(expected, given, strict=True))
    try:
        return np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"input: no array of numbers ({reason_of(error)})") from error


def _stack(expected: np.ndarray, *samples: np.ndarray) -> np.ndarray:
    for one in samples:
        if one.shape != expected.shape:
            raise InputError(
                f"input: shape {list(one.shape)}, but the network takes {list(expected.shape)}"
            )
    return np.stack(samples)


def _cast(expected: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The array in the type expected, unless that would change values."""
    if found.dtype == expected.dtype:
        return found
    if expected.dtype.kind == "f":
        return found.astype(expected.dtype) if found.dtype.kind in "iu" else found
    with np.errstate(invalid="ignore"):
        cast = found.astype(expected.dtype)
    return cast if found.dtype.kind in "iu" and (cast == found).all() else found
