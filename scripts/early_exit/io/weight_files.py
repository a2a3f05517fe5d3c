"""Weights in several files: an index, ``*.index.json``, with the file of each weight beside it."""

from __future__ import annotations

import json
from pathlib import Path

from early_exit.errors import InputError, plain

INDEX = ".index.json"
# Names under which libraries save weights, by preference.
USUAL = (
    "model.safetensors",
    f"model.safetensors{INDEX}",
    "diffusion_pytorch_model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX}",
)
LARGEST = 100_000_000
ANEW = "fetch the index and its files again, into one folder"


def weight_files(path: Path) -> list[Path]:
    """The files of a checkpoint: itself, and those that it lists if it is an index.

    Raises
    ------
    InputError
        If an index cannot be read, or lists a file that is missing.
    """
    return [path, *map(path.parent.joinpath, weight_map(path))] if is_index(path) else [path]


def is_index(path: Path) -> bool:
    """Whether a path is called an index."""
    return path.name.endswith(INDEX)


def weight_map(path: Path) -> dict[str, list[str]]:
    """Names of the weights in each of an index's files, by file name.

    Raises
    ------
    InputError
        If it is no index, or a file is missing or not beside it.
    """
    where = plain(str(path))
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("too large")
        found = json.loads(path.read_bytes())["weight_map"]
        entries = list(found.items())
        strange = [one for entry in entries for one in entry if not isinstance(one, str)]
        if strange or not entries:
            raise ValueError("weight_map names no files")
    except FileNotFoundError as error:
        raise InputError(f"{where}: missing", "set the path of the checkpoint") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{where}: no index of weights ({plain(str(error))})", ANEW) from error
    files: dict[str, list[str]] = {}
    for name, file in entries:
        files.setdefault(file, []).append(name)
    for file in files:
        if Path(file).name != file:
            raise InputError(f"{where}: names a file in another folder, {plain(file)[:80]}", ANEW)
        if not (path.parent / file).is_file():
            raise InputError(f"{where}: its file {plain(file)[:80]} is missing", ANEW)
    return dict(sorted(files.items()))


def in_folder(folder: Path) -> str | None:
    """Name of the file with the weights in a folder, such as one of ``save_pretrained``."""
    return next((name for name in USUAL if (folder / name).is_file()), None)
