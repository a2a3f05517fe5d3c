"""Arrays in a NumPy file, ``path``: inputs and labels, optionally with splits of their own.

``images``
    (N, height, width, channels) or (N, channels, height, width), uint8; (N, height, width) is grey.
    Channels are 1 or 3, or the shortest of the three axes.
``inputs``
    Instead of images: numbers of any type and shape, the samples first. They are not scaled. Or
    several arrays ``input_NAME``, which make a dictionary by these names.
``labels``
    (N,), integers from 0; for two classes also booleans.
``val_images``, ``val_labels``, ``test_images``, ``test_labels``
    Optional arrays of the same form (``val_inputs``, ``val_input_NAME``, ...): the calibration and
    the test split. Without a test split, half of the calibration split is taken for it.
``class_names``
    C strings, optional; by default the classes are named by their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from early_exit.datasets.arrays import (
    Arrays,
    check_same_kinds,
    checked_inputs,
    length,
    mapped,
    tensors,
)
from early_exit.datasets.base import Contents
from early_exit.datasets.labels import checked_class_names, checked_labels
from early_exit.datasets.parts import check_settings
from early_exit.errors import InputError, reason_of
from early_exit.io.files import sha256
from early_exit.io.names import shown
from early_exit.structures.examples import EXAMPLES

if TYPE_CHECKING:
    from early_exit.datasets.base import Split

NEEDED = ("path",)
SETTINGS = ("test",)
CHANNELS = (1, 3)
# Prefixes of the names of each part's arrays.
PREFIXES = {"train": "", "calibration": "val_", "test": "test_"}
IMAGES, INPUTS, INPUT, LABELS = "images", "inputs", "input_", "labels"
# Ends of names that look like those of a part.
ENDS = ("_images", "_labels", "_inputs")


@dataclass(frozen=True)
class Parts:
    """The arrays of a file.

    Attributes
    ----------
    kind
        ``images`` or ``inputs``.
    inputs, labels
        By part, in the order of ``PARTS``; images are (N, channels, height, width).
    class_names
        As in the file, or ``None``.
    """

    kind: str
    inputs: dict[str, Arrays]
    labels: dict[str, np.ndarray]
    class_names: np.ndarray | None


def prepare(data_dir: Path, settings: dict[str, Any]) -> Contents:
    """Check the arrays; ``data_dir`` is the file of the setting ``path``.

    Raises
    ------
    InputError
        If it cannot be read, or an array is missing or of a wrong type or length.
    """
    found = read_parts(data_dir)
    check_settings(found.labels, settings, data_dir)
    files = {"arrays": f"sha256:{sha256(data_dir)}"}
    train, *others = found.labels.values()
    names = checked_class_names(found.class_names, train, others, str(data_dir), found.kind)
    inputs = found.inputs["train"]
    if found.kind == IMAGES:
        return Contents(names, inputs.shape[1:], files)
    return Contents(names, None, files, mapped(lambda one: one[:EXAMPLES], inputs))


def load(data_dir: Path, split: str, settings: dict[str, Any]) -> Split:
    """Read one split; see :mod:`early_exit.datasets.load`."""
    import torch

    from early_exit.datasets.base import Split
    from early_exit.datasets.splits import in_three

    found = read_parts(data_dir)
    index = in_three({part: len(own) for part, own in found.labels.items()}, settings)[split]
    rows = index.numpy()
    inputs = mapped(lambda *parts: np.concatenate(parts)[rows], *found.inputs.values())
    labels = np.concatenate([*found.labels.values()])[rows]
    return Split(tensors(inputs), torch.from_numpy(labels), index)


def read_parts(path: Path) -> Parts:
    """Read and check the arrays of a file.

    Raises
    ------
    InputError
        If it cannot be read, or an array is missing or of a wrong type or length.
    """
    arrays = _read(path)
    kind = _kind(path, arrays)
    inputs, labels = {}, {}
    for part, prefix in PREFIXES.items():
        present = [name for name in arrays if _belongs(name, prefix)]
        if part != "train" and not present:
            continue
        inputs[part] = _inputs_of(path, arrays, prefix, kind)
        labels[part] = checked_labels(
            _array(path, arrays, prefix + LABELS), f"{path}: {prefix}{LABELS}"
        )
        samples = length(inputs[part])
        if samples != len(labels[part]):
            raise InputError(f"{path}: {samples} {prefix}{kind}, but {len(labels[part])} labels")
        where = f"{path}: {prefix}{kind}"
        check_same_kinds(inputs["train"], inputs[part], where, kind)
    return Parts(kind, inputs, labels, arrays.get("class_names"))


def _kind(path: Path, arrays: dict[str, Any]) -> str:
    """Whether the file has images or other inputs; refuses both, and names of other parts."""
    given = {IMAGES: [], INPUTS: []}
    for name in arrays:
        if any(name == prefix + IMAGES for prefix in PREFIXES.values()):
            given[IMAGES].append(name)
        elif _is_input(name):
            given[INPUTS].append(name)
        elif _looks_like_a_part(name) and any(_is_input(one) or one == IMAGES for one in arrays):
            raise InputError(
                f"{path}: has {shown(name)}, which is not read",
                "the parts are images, val_images and test_images (or inputs, ...), each with its"
                " labels",
            )
    if given[IMAGES] and given[INPUTS]:
        raise InputError(
            f"{path}: has {shown(given[IMAGES][0])} and {shown(given[INPUTS][0])}",
            "give images alone, or all as inputs (input_image, ...), which are not scaled",
        )
    return INPUTS if given[INPUTS] else IMAGES


def _belongs(name: str, prefix: str) -> bool:
    """Whether an array is of the part with this prefix."""
    own = name.removeprefix(prefix)
    is_of = own in (IMAGES, INPUTS, LABELS) or own.startswith(INPUT)
    return name.startswith(prefix) and is_of


def _is_input(name: str) -> bool:
    return any(
        _belongs(name, prefix) and name.removeprefix(prefix).startswith(("inputs", INPUT))
        for prefix in PREFIXES.values()
    )


def _looks_like_a_part(name: str) -> bool:
    """Whether an array is called as those of a part are, but of none that is known."""
    is_label = any(name == prefix + LABELS for prefix in PREFIXES.values())
    return (name.endswith(ENDS) or f"_{INPUT}" in name) and not is_label


def _inputs_of(path: Path, arrays: dict[str, Any], prefix: str, kind: str) -> Arrays:
    """Images, or other inputs, of the part with this prefix."""
    if kind == IMAGES:
        name = prefix + IMAGES
        return channels_first(_array(path, arrays, name), f"{path}: {name}")
    start = prefix + INPUT
    several = {name.removeprefix(start): arrays[name] for name in arrays if name.startswith(start)}
    if several and prefix + INPUTS in arrays:
        raise InputError(
            f"{path}: has {prefix}{INPUTS} and {shown(start + next(iter(several)))}",
            f"name all of them {start}NAME, or give {prefix}{INPUTS} alone",
        )
    given = several or _array(path, arrays, prefix + INPUTS)
    return checked_inputs(given, f"{path}: {prefix}{INPUTS}")


def _read(path: Path) -> dict[str, Any]:
    """Arrays of the file by name; those of unknown names are ``None``."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file", "set dataset.path to its location")
    # A damaged file can make the reader raise anything.
    try:
        with path.open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("a single array without a name, as of np.save; use np.savez")
            with file:
                arrays = {name: file[name] if _is_known(name) else None for name in file.files}
                for name, array in arrays.items():
                    if array is not None and not isinstance(array, np.ndarray):
                        raise ValueError(f"{name} is no array")
    except Exception as error:
        raise InputError(
            f"{path}: no arrays that can be read safely ({reason_of(error)})"
        ) from error
    return arrays


def _is_known(name: str) -> bool:
    known = any(_belongs(name, prefix) for prefix in PREFIXES.values())
    return known or name == "class_names"


def _array(path: Path, arrays: dict[str, Any], name: str) -> np.ndarray:
    array = arrays.get(name)
    if array is None or array.ndim == 0:
        found = ", ".join(shown(one) for one in list(arrays)[:20]) or "nothing"
        raise InputError(f"{path}: has no {name}", f"it has: {found}")
    return array


def channels_first(images: np.ndarray, where: str) -> np.ndarray:
    """Images as (N, channels, height, width); see the module for what they may be.

    Raises
    ------
    InputError
        If they are not uint8, or no axis is clearly that of the channels.
    """
    if images.ndim == 3:
        images = images[:, None]
    shape = images.shape
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in shape:
        raise InputError(
            f"{where} are {images.dtype} of shape {shape}, but must be uint8, 0 to 255, of"
            " shape (N, height, width, channels) or (N, channels, height, width)",
            "scale and round arrays of another type, or call them inputs, which are not scaled",
        )
    if _is_of_channels(shape, 3):
        return images.transpose(0, 3, 1, 2)
    if _is_of_channels(shape, 1):
        return images
    raise InputError(
        f"{where} of shape {shape} have no unambiguous dimension of channels, 1 or 3 of them or"
        " fewer than pixels in a row and in a column",
        "call them inputs, channels first; they are not scaled then",
    )


def _is_of_channels(shape: tuple[int, ...], axis: int) -> bool:
    """Whether an axis, the other than 4 - axis, is that of channels."""
    other = shape[4 - axis]
    if shape[axis] in CHANNELS or other in CHANNELS:
        return shape[axis] in CHANNELS and other not in CHANNELS
    return shape[axis] < min(shape[2], other)
