"""Inputs that are no images: arrays with the samples first, or dictionaries or tuples of them.

They are checked, and brought to types that torch computes with: floating-point numbers to float32,
unsigned integers of 16 bits and more to signed ones.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from early_exit.errors import InputError, reason_of
from early_exit.structures.examples import LARGEST

if TYPE_CHECKING:
    import torch

# An array, or a dictionary or tuple of such.
Arrays = Any

# Values that are looked at at a time.
PIECE = 1 << 22
LEVELS = 8
WIDER = {"uint16": "int32", "uint32": "int64", "uint64": "int64"}
REMEDIES = {
    "O": "pad sequences of several lengths to one, with a mask beside them",
    "U": "turn text into numbers",
    "S": "turn text into numbers",
    "c": "give the real and the imaginary part as two channels",
}


def checked_inputs(given: Any, where: str) -> Arrays:
    """Inputs as NumPy arrays of numbers, all with the same number of samples.

    Parameters
    ----------
    given
        NumPy arrays or torch tensors, or dictionaries or tuples of them. Keys are sorted.
    where
        What gave them, for messages.

    Raises
    ------
    InputError
        If they are something else, differ in length, or have NaN or infinite values.
    """
    found = _structure(given, where, LEVELS)
    lengths = {name: len(one) for name, one in named(found)}
    first, *others = lengths
    if apart := [name for name in others if lengths[name] != lengths[first]]:
        raise InputError(
            f"{where}{first} has {lengths[first]} samples, but {apart[0]} has {lengths[apart[0]]}"
        )
    return found


def _structure(given: Any, where: str, levels: int) -> Arrays:
    if isinstance(given, Mapping | tuple):
        if not given or not levels:
            what = f"more than {LEVELS} levels of dictionaries and tuples" if given else "empty"
            raise InputError(f"{where}: {what}")
        if not isinstance(given, Mapping):
            parts = (_structure(one, f"{where}[{i}]", levels - 1) for i, one in enumerate(given))
            return tuple(parts)
        if strange := [key for key in given if not isinstance(key, str)]:
            raise InputError(f"{where}: the key {strange[0]!r} is no string")
        return {
            key: _structure(given[key], f"{where}[{key!r}]", levels - 1) for key in sorted(given)
        }
    return _array(given, where)


def _array(given: Any, where: str) -> np.ndarray:
    """One array, checked and brought to its type."""
    if hasattr(given, "detach"):
        try:
            given = as_numpy(given)
        # Of a sparse or quantised tensor, for one.
        except Exception as error:
            raise InputError(f"{where}: no plain tensor ({reason_of(error)})") from error
    if not isinstance(given, np.ndarray):
        raise InputError(
            f"{where}: a {type(given).__name__}, but must be a NumPy array, a torch tensor, or a"
            " dictionary or tuple of them",
            "convert it with np.asarray",
        )
    if given.dtype.kind not in "biuf":
        raise InputError(
            f"{where}: {given.dtype} of shape {given.shape}, but must be numbers",
            REMEDIES.get(given.dtype.kind, "convert it"),
        )
    if given.ndim == 0 or 0 in given.shape:
        raise InputError(f"{where}: shape {given.shape}, but the samples must be the first axis")
    if math.prod(given.shape[1:]) > LARGEST:
        raise InputError(
            f"{where}: shape {given.shape}, but a sample may have at most {LARGEST} values"
        )
    return _converted(given, where)


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A torch tensor as a NumPy array; of bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


def _converted(array: np.ndarray, where: str) -> np.ndarray:
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = array.astype(np.float32, copy=False)
        rows = max(1, PIECE // math.prod(array.shape[1:]))
        for start in range(0, len(array), rows):
            finite = np.isfinite(array[start : start + rows])
            if not finite.all():
                sample = start + int(np.argwhere(~finite)[0][0])
                raise InputError(
                    f"{where}: NaN or infinite values (as float32), the first in sample {sample}",
                    "replace them, or leave out these samples",
                )
        return array
    wider = WIDER.get(array.dtype.name)
    if array.dtype.name == "uint64" and array.max() > np.iinfo(np.int64).max:
        raise InputError(f"{where}: the value {array.max()}, but integers have at most 63 bits")
    return array.astype(wider or array.dtype.newbyteorder("="), copy=False)


def named(arrays: Arrays, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Each array with its place, such as ``['mask']``; empty for a single array."""
    if isinstance(arrays, Mapping):
        for key, one in arrays.items():
            yield from named(one, f"{name}[{key!r}]")
    elif isinstance(arrays, tuple):
        for number, one in enumerate(arrays):
            yield from named(one, f"{name}[{number}]")
    else:
        yield name, arrays


def mapped(change: Callable[..., Any], *arrays: Arrays) -> Any:
    """The structure with each array changed; of several structures alike, each set of arrays."""
    first = arrays[0]
    if isinstance(first, Mapping):
        return {key: mapped(change, *(one[key] for one in arrays)) for key in first}
    if isinstance(first, tuple):
        return tuple(mapped(change, *parts) for parts in zip(*arrays, strict=True))
    return change(*arrays)


def length(arrays: Arrays) -> int:
    """Number of samples."""
    return len(next(named(arrays))[1])


def kinds(arrays: Arrays) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of a sample of each array, by its place."""
    return {name: (one.dtype.name, one.shape[1:]) for name, one in named(arrays)}


def check_same_kinds(expected: Arrays, found: Arrays, where: str, other: str) -> None:
    """Refuse inputs that differ in structure, type or shape from others.

    Raises
    ------
    InputError
        Names the first array that differs, ``where``, and whose it differs from, ``other``.
    """
    wanted, own = kinds(expected), kinds(found)
    if [*wanted] != [*own]:
        listed = [", ".join(name or "a single array" for name in one) for one in (own, wanted)]
        raise InputError(f"{where}: {listed[0]}, but {other}: {listed[1]}")
    for name, (dtype, shape) in own.items():
        if (dtype, shape) != wanted[name]:
            expected_dtype, expected_shape = wanted[name]
            raise InputError(
                f"{where}{name}: {dtype} of shape {list(shape)} for a sample, but {other}:"
                f" {expected_dtype} of shape {list(expected_shape)}"
            )


def digest(*arrays: Arrays) -> str:
    """SHA-256 over types, shapes and values."""
    found = hashlib.sha256()
    for name, one in named(arrays):
        found.update(f"{name}:{one.dtype.str}:{one.shape}\n".encode())
        rows = max(1, PIECE // math.prod(one.shape[1:]))
        for start in range(0, len(one), rows):
            found.update(np.ascontiguousarray(one[start : start + rows]).data)
    return found.hexdigest()


def tensors(arrays: Arrays) -> Any:
    """The structure with torch tensors."""
    import torch

    def tensor(array: np.ndarray) -> torch.Tensor:
        with warnings.catch_warnings():
            # Of arrays that are only to be read, as those of a file mapped into memory.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(np.ascontiguousarray(array))

    return mapped(tensor, arrays)
