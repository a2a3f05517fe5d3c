"""Data sets by name: preparing their files, and loading their splits as tensors.

A data set is one module with

``SETTINGS``
    Its settings besides those of all data sets (:data:`COMMON`).
``prepare(data_dir, settings) -> Contents``
    Check the files, download missing ones, and return their contents. Imports no torch. For a data
    set with the setting ``path``, ``data_dir`` is that path.
``load(data_dir, split, settings) -> Split``
    Read a split.

Adding one means one new module here and its name in ``scripts/early_exit/config/schema.yaml``. A
name such as ``path/to/file.py:ClassName`` is a class of the user's, and
:mod:`early_exit.datasets.custom` the module. What a module has for new samples is in
:mod:`early_exit.datasets.new`.
"""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from early_exit.config.code_file import code_file
from early_exit.datasets.base import Contents, Split
from early_exit.errors import InputError
from early_exit.structures.examples import encode

SPLITS = ("train", "calibration", "test")
# Settings of every data set.
COMMON = ("name", "calibration", "split_seed", "mean", "std", "mirrors")


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse settings that are unknown to a data set, missing, or incompatible.

    Raises
    ------
    InputError
        Names the setting, and those that the data set takes.
    """
    module = _module(settings["name"])
    needed = getattr(module, "NEEDED", ())
    known = {*COMMON, *module.SETTINGS, *needed}
    for key, value in settings.items():
        if value not in (None, {}) and key not in known:
            takes = ", ".join([*needed, *module.SETTINGS, *COMMON[1:]])
            raise InputError(
                f"dataset.{key}: {settings['name']} takes no {key}", f"it takes: {takes}"
            )
    if (settings.get("mean") is None) != (settings.get("std") is None):
        raise InputError("dataset.mean and dataset.std go together", "set both, or neither")
    for key in needed:
        # Jobs pass the path as `data_dir`.
        if settings.get(key) is None and (key in settings or key != "path"):
            raise InputError(f"dataset.{key}: not set, but {settings['name']} needs it")


def prepare_dataset(data_dir: str | Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Check or download a data set's files, and return the manifest that identifies them.

    Parameters
    ----------
    data_dir
        Folder of the data sets. Only missing files are written.
    settings
        The experiment's ``dataset`` settings, including ``name``.

    Returns
    -------
    dict
        ``dataset``, ``classes``, ``class_names``, ``shape`` of images or ``inputs``, ``files``
        (checksums), ``settings``, ``source`` (the fingerprint of the file, for a class of the
        user's), ``state`` (what new samples are prepared with, if anything) and ``digest``, a
        SHA-256 over all of these; ``mean`` and ``std``, as set.

    Raises
    ------
    InputError
        If files cannot be obtained, or a setting does not fit the data set.
    """
    check_settings(settings)
    found = _module(settings["name"]).prepare(Path(data_dir), settings)
    _check_scaling(found, settings)
    manifest = {
        "dataset": settings["name"],
        "classes": len(found.class_names),
        "class_names": list(found.class_names),
        **_described(found),
        "files": found.files,
        "settings": {k: v for k, v in settings.items() if k not in ("name", "mirrors")},
    }
    if file := code_file(settings["name"]):
        manifest["source"] = file.fingerprint()
    if found.state is not None:
        manifest["state"] = found.state
    text = json.dumps(manifest, sort_keys=True).encode()
    scaled = {key: settings.get(key) for key in ("mean", "std")}
    return manifest | {"digest": hashlib.sha256(text).hexdigest()} | scaled


def _check_scaling(found: Contents, settings: dict[str, Any]) -> None:
    """Refuse a mean and a standard deviation that do not fit the inputs."""
    for key in ("mean", "std"):
        numbers = settings.get(key)
        if numbers is None:
            continue
        if found.shape is None:
            raise InputError(
                f"dataset.{key}: only images are scaled, and {settings['name']} has none",
                "leave it out, and give the data set scaled values",
            )
        if len(numbers) != found.shape[0]:
            raise InputError(
                f"dataset.{key}: {len(numbers)} numbers for images of {found.shape[0]} channels",
                "give one for each",
            )


def _described(found: Contents) -> dict[str, Any]:
    """The inputs as JSON: ``shape`` of images, else ``inputs``."""
    if found.shape is not None:
        return {"shape": list(found.shape)}
    return {"inputs": encode(found.inputs)}


def load_split(
    data_dir: str | Path,
    split: str,
    settings: dict[str, Any],
    manifest: dict[str, Any] | None = None,
) -> Split:
    """Read the split ``train``, ``calibration`` or ``test``.

    Parameters
    ----------
    manifest
        Of the data set. What a class of the user's returns is compared with it: its code may
        return something else each time.

    Raises
    ------
    InputError
        If files are missing or damaged, or the split is empty.
    """
    name = settings["name"]
    files = {"files": manifest["files"]} if manifest and code_file(name) else {}
    loaded = _module(name).load(Path(data_dir), split, settings, **files)
    if len(loaded) == 0:
        raise InputError(
            f"dataset {settings['name']}: the split {split} is empty", "make it larger"
        )
    return loaded


def _module(name: str) -> Any:
    return import_module(f"early_exit.datasets.{'custom' if code_file(name) else name}")
