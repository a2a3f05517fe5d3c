"""Arrays in a NumPy file, ``path``: pictures and labels, perhaps with a test split of their own.

``images``
    (N, height, width, channels) or (N, channels, height, width), uint8; (N, height, width) is grey.
    Channels are 1 or 3.
``labels``
    (N,), whole numbers from 0.
``test_images``, ``test_labels``
    As those, or not there.
``class_names``
    C texts, or not there: then the classes are named by their numbers.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from early_exit.datasets import Contents
from early_exit.errors import InputError
from early_exit.files import has_line_break, sha256

if TYPE_CHECKING:
    from early_exit.datasets import Split

NEEDED = ("path",)
SETTINGS = ("test",)
# Of what is not set: a tenth for each.
SHARE = 10
CHANNELS = (1, 3)
BROKEN = (zipfile.BadZipFile, zlib.error)


def prepare(data_dir: Path, settings: dict[str, Any]) -> Contents:
    """Check what the arrays hold; ``data_dir`` is the file that the setting ``path`` names.

    Raises
    ------
    InputError
        If it cannot be read, or an array is missing, of another type, or of another length.
    """
    arrays = _arrays(data_dir)
    if "test_images" in arrays and settings["test"] is not None:
        raise InputError(f"dataset.test: {data_dir} has test_images of its own; leave it out")
    files = {"arrays": f"sha256:{sha256(data_dir)}"}
    return Contents(_class_names(data_dir, arrays), arrays["images"].shape[1:], files)


def load(data_dir: Path, split: str, settings: dict[str, Any]) -> Split:
    """Read one split; see the package."""
    import torch

    from early_exit.datasets import Split
    from early_exit.datasets.splits import in_three

    arrays = _arrays(data_dir)
    parts = [prefix for prefix in ("", "test_") if f"{prefix}images" in arrays]
    images = np.concatenate([arrays[f"{prefix}images"] for prefix in parts])
    labels = np.concatenate([arrays[f"{prefix}labels"] for prefix in parts])
    samples = [len(arrays[f"{prefix}labels"]) for prefix in parts]
    index = in_three(samples, settings, max(1, samples[0] // SHARE))[split]
    chosen = torch.from_numpy(np.ascontiguousarray(images[index.numpy()]))
    return Split(chosen, torch.from_numpy(labels)[index], index)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """What the file holds: images as (N, channels, height, width), labels as int64."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; set dataset.path to where it is")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    # What a damaged file makes the reader raise is not one type.
    except (OSError, ValueError, EOFError, AttributeError, KeyError, *BROKEN) as error:
        raise InputError(f"{path}: no arrays that can be read safely ({error})") from error
    for prefix in ("", "test_") if "test_images" in arrays else ("",):
        images, labels = (_array(path, arrays, prefix + kind) for kind in ("images", "labels"))
        if len(images) != len(labels):
            raise InputError(f"{path}: {len(images)} {prefix}images, but {len(labels)} labels")
        arrays[f"{prefix}images"] = _channels_first(path, prefix + "images", images)
        arrays[f"{prefix}labels"] = _labels(path, prefix + "labels", labels)
    shapes = {arrays[name].shape[1:] for name in ("images", "test_images") if name in arrays}
    if len(shapes) > 1:
        raise InputError(f"{path}: images and test_images differ in shape")
    return arrays


def _array(path: Path, arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays or arrays[name].ndim == 0:
        found = ", ".join(arrays) or "nothing"
        raise InputError(f"{path}: has no {name}; it has: {found}")
    return arrays[name]


def _channels_first(path: Path, name: str, images: np.ndarray) -> np.ndarray:
    if images.ndim == 3:
        images = images[:, None]
    shape = images.shape
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in shape:
        raise InputError(
            f"{path}: {name} are {images.dtype} of shape {shape}, but must be uint8, 0 to 255, of"
            " shape (N, height, width, channels) or (N, channels, height, width)"
        )
    if shape[3] in CHANNELS and shape[1] not in CHANNELS:
        return images.transpose(0, 3, 1, 2)
    if shape[1] in CHANNELS and shape[3] not in CHANNELS:
        return images
    raise InputError(
        f"{path}: {name} of shape {shape} have no dimension that must be that of 1 or 3 channels"
    )


def _labels(path: Path, name: str, labels: np.ndarray) -> np.ndarray:
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise InputError(
            f"{path}: {name} are {labels.dtype} of shape {labels.shape}, but must be whole numbers"
            " from 0, of shape (N,)"
        )
    return labels.astype(np.int64)


def _class_names(path: Path, arrays: dict[str, np.ndarray]) -> list[str]:
    """Names as given, or the numbers; every label has one, and every name a picture."""
    highest = max(int(arrays[name].max()) for name in ("labels", "test_labels") if name in arrays)
    names = arrays.get("class_names", np.arange(highest + 1).astype(str))
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) != len(names):
        raise InputError(f"{path}: class_names must be texts of shape (C,), each another")
    if broken := [name for name in names.tolist() if has_line_break(name)]:
        raise InputError(f"{path}: the class name {broken[0]!r} has a line break; rename it")
    if highest >= len(names) or len(names) < 2:
        raise InputError(
            f"{path}: {len(names)} class_names, but labels up to {highest}; give a name for each"
            " class, 2 at least"
        )
    empty = sorted(set(range(len(names))) - set(arrays["labels"].tolist()))
    if empty:
        raise InputError(f"{path}: no picture in images is of the class {names[empty[0]]}")
    return names.tolist()
