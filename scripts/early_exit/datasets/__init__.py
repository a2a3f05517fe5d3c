"""Data sets: where their files lie, and their splits as tensors.

A data set is one module with

``SETTINGS``
    The settings that it takes besides those that all take (:data:`COMMON`).
``prepare(data_dir, settings) -> Contents``
    Make sure that the files are there and whole, downloading them where they are not, and tell
    what they hold. Imports no torch. For a data set with the setting ``path``, ``data_dir`` is what
    that names.
``load(data_dir, split, settings) -> Split``
    Read a split.

Adding one means one new module here and its name in ``rules/config.schema.yaml``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.errors import InputError

if TYPE_CHECKING:
    import torch

    from early_exit.datasets.pictures import Pictures

SPLITS = ("train", "calibration", "test")
# Settings that every data set takes; `mirrors` says nothing of what it holds.
COMMON = ("name", "calibration", "split_seed", "mean", "std", "mirrors")


@dataclass(frozen=True)
class Contents:
    """What a data set's files hold.

    Attributes
    ----------
    class_names
        Names of the C classes.
    shape
        Channels, height and width of a picture.
    files
        Checksums by name.
    """

    class_names: Sequence[str]
    shape: Sequence[int]
    files: dict[str, str]


@dataclass(frozen=True)
class Split:
    """Pictures of one split, in order.

    Attributes
    ----------
    images
        Shape (N, channels, height, width), uint8, 0 to 255: a tensor or, where that would be too
        large, :class:`~early_exit.datasets.pictures.Pictures`, read as they are asked for.
    labels
        Shape (N,), int64, from 0.
    index
        Shape (N,), int64, each picture's place in the source data set.
    """

    images: torch.Tensor | Pictures
    labels: torch.Tensor
    index: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: slice) -> Split:
        """Some of it; what has not been read is not read."""
        lazy = hasattr(self.images, "part")
        images = self.images.part(rows) if lazy else self.images[rows]
        return Split(images, self.labels[rows], self.index[rows])


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse settings that a data set does not know, or that do not go together or are missing.

    Raises
    ------
    InputError
        Naming the setting, and what the data set takes.
    """
    module = _module(settings["name"])
    needed = getattr(module, "NEEDED", ())
    known = {*COMMON, *module.SETTINGS, *needed}
    for key, value in settings.items():
        if value is not None and key not in known:
            takes = ", ".join([*needed, *module.SETTINGS, *COMMON[1:]])
            raise InputError(f"dataset.{key}: {settings['name']} takes no {key}; it takes: {takes}")
    if (settings.get("mean") is None) != (settings.get("std") is None):
        raise InputError("dataset.mean and dataset.std go together; set both, or neither")
    for key in needed:
        # A job has the path as its `data_dir`, and not among the settings.
        if settings.get(key) is None and (key in settings or key != "path"):
            raise InputError(f"dataset.{key}: not set, but {settings['name']} needs it")


def prepare(data_dir: str | Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Check or fetch a data set's files; the manifest that identifies what lies there.

    Parameters
    ----------
    data_dir
        Folder of the data sets. Written to only where files are missing.
    settings
        The experiment's ``dataset`` settings, ``name`` among them.

    Returns
    -------
    dict
        ``dataset``, ``classes``, ``class_names``, ``shape``, ``files`` (checksums), ``settings``
        and ``digest``, a SHA-256 over all of these; ``mean`` and ``std``, as set.

    Raises
    ------
    InputError
        If files cannot be had, or a setting does not fit the data set.
    """
    check_settings(settings)
    found = _module(settings["name"]).prepare(Path(data_dir), settings)
    for key in ("mean", "std"):
        numbers = settings.get(key)
        if numbers is not None and len(numbers) != found.shape[0]:
            raise InputError(
                f"dataset.{key}: {len(numbers)} numbers for pictures of {found.shape[0]} channels;"
                " give one for each"
            )
    manifest = {
        "dataset": settings["name"],
        "classes": len(found.class_names),
        "class_names": list(found.class_names),
        "shape": list(found.shape),
        "files": found.files,
        "settings": {k: v for k, v in settings.items() if k not in ("name", "mirrors")},
    }
    text = json.dumps(manifest, sort_keys=True).encode()
    scaled = {key: settings.get(key) for key in ("mean", "std")}
    return manifest | {"digest": hashlib.sha256(text).hexdigest()} | scaled


def load(data_dir: str | Path, split: str, settings: dict[str, Any]) -> Split:
    """Read the split ``train``, ``calibration`` or ``test``.

    Raises
    ------
    InputError
        If files are missing or damaged, or the split comes out empty.
    """
    loaded = _module(settings["name"]).load(Path(data_dir), split, settings)
    if len(loaded) == 0:
        raise InputError(f"dataset {settings['name']}: the split {split} is empty; make it larger")
    return loaded


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{name}")
