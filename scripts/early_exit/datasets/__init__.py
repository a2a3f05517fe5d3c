"""Data sets: where their files lie, and their splits as tensors.

A data set is one module with

``CLASS_NAMES``, ``SHAPE``
    Names of the C classes; channels, height and width of a picture.
``prepare(data_dir, settings) -> dict``
    Make sure that the files are there and whole, downloading them where they are not, and give
    their checksums. Imports no torch.
``load(data_dir, split, settings) -> Split``
    Read a split.

Adding one means one new module here and its name in ``rules/config.schema.yaml``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.errors import InputError

if TYPE_CHECKING:
    import torch

SPLITS = ("train", "calibration", "test")


@dataclass(frozen=True)
class Split:
    """Pictures of one split, in order.

    Attributes
    ----------
    images
        Shape (N, channels, height, width), uint8, 0 to 255.
    labels
        Shape (N,), int64, from 0.
    index
        Shape (N,), int64, each picture's place in the source data set.
    """

    images: torch.Tensor
    labels: torch.Tensor
    index: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


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
        and ``digest``, a SHA-256 over all of these.
    """
    module = _module(settings["name"])
    manifest = {
        "dataset": settings["name"],
        "classes": len(module.CLASS_NAMES),
        "class_names": list(module.CLASS_NAMES),
        "shape": list(module.SHAPE),
        "files": module.prepare(Path(data_dir), settings),
        "settings": {k: v for k, v in settings.items() if k not in ("name", "mirrors")},
    }
    text = json.dumps(manifest, sort_keys=True).encode()
    return manifest | {"digest": hashlib.sha256(text).hexdigest()}


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
