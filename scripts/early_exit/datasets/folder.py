"""A folder of class folders with images in them, as torchvision's ImageFolder has it.

``path`` contains a folder for each class, or ``train`` and one or both of ``val`` and ``test``,
each with class folders; ``val`` and ``test`` may lack a class of ``train``. ``val`` is the
calibration split; without ``test``, half of it is the test split. Classes are numbered in the order
of their names, and so are images within a class, including those in subfolders. Hidden files are
ignored.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.datasets.base import Contents
from early_exit.datasets.parts import PARTS, check_settings
from early_exit.errors import InputError, reason_of
from early_exit.io.checksums import check_link
from early_exit.io.files import has_line_break, sha256
from early_exit.io.names import is_plain, shown

if TYPE_CHECKING:
    from early_exit.datasets.base import Split

NEEDED = ("path", "size")
SETTINGS = ("test", "max_pixels")
# Folder names of each part.
NAMES = {
    "train": ("train",),
    "calibration": ("val", "valid", "validation", "calibration"),
    "test": ("test",),
}
KNOWN = {name: part for part, names in NAMES.items() for name in names}
# Two of these names, in any case, are hardly classes; ones that are not in KNOWN are an error.
PART_NAMES = {*KNOWN, "training", "dev", "development", "calib", "testing", "eval", "evaluation"}
# Files with other suffixes are an error.
SUFFIXES = {
    *(".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".pbm", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
    ".avif",
}
READERS = 4
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listing:
    """The images of one folder of class folders.

    Attributes
    ----------
    folder
        Path of that folder.
    class_names
        Names of the classes in it, sorted.
    files
        Paths of the images, class by class.
    labels
        Class of each file, from 0, as the train part numbers them.
    """

    folder: Path
    class_names: list[str]
    files: list[Path]
    labels: list[int]


def prepare(data_dir: Path, settings: dict[str, Any]) -> Contents:
    """Check that every image can be read, and compute its checksum.

    Raises
    ------
    InputError
        If ``data_dir`` (the setting ``path``) is no such folder, or an image cannot be read.
    """
    listings = listed(data_dir)
    shape = shape_of(settings)
    check_settings(listings, settings, data_dir)
    all_files = [file for one in listings.values() for file in one.files]
    checksums = _read_all(all_files, shape, settings.get("max_pixels"))
    files = {}
    for listing in listings.values():
        for name in listing.class_names:
            label = listings["train"].class_names.index(name)
            own = [f for f, of in zip(listing.files, listing.labels, strict=True) if of == label]
            digest = hashlib.sha256()
            for file in own:
                digest.update(os.fsencode(f"{file.relative_to(data_dir).as_posix()}\n"))
                digest.update(f"{checksums[file]}\n".encode())
            files[(listing.folder / name).relative_to(data_dir).as_posix()] = (
                f"{len(own)} images, sha256:{digest.hexdigest()}"
            )
    class_names = listings["train"].class_names
    for part, listing in listings.items():
        if absent := [name for name in class_names if name not in listing.class_names]:
            LOGGER.warning("%s has no image of %s", part, ", ".join(absent))
    return Contents(class_names, shape, files)


def load(data_dir: Path, split: str, settings: dict[str, Any]) -> Split:
    """Read one split; see :mod:`early_exit.datasets.load`."""
    import torch

    from early_exit.datasets.base import Split
    from early_exit.datasets.lazy_images import Images
    from early_exit.datasets.splits import in_three

    listings = listed(data_dir)
    index = in_three({part: len(one.files) for part, one in listings.items()}, settings)[split]
    # Indices run through all parts.
    files = [file for one in listings.values() for file in one.files]
    labels = torch.tensor([label for one in listings.values() for label in one.labels])
    chosen = Images(
        [files[i] for i in index.tolist()],
        shape_of(settings),
        max_pixels=settings.get("max_pixels"),
    )
    return Split(chosen.kept(), labels[index], index)


def shape_of(settings: dict[str, Any]) -> tuple[int, int, int]:
    """Channels (always 3), height and width of the setting ``size``."""
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return 3, height, width


def listed(folder: Path) -> dict[str, Listing]:
    """Images by part, in the order of ``PARTS``; all are ``train`` if there are no parts.

    Raises
    ------
    InputError
        If there is no such folder, a class is empty, there is only one class, a file is no image,
        a class is not in the train part, or folders are named like parts but are none.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: there is no such folder",
            "set dataset.path to its location, relative to where snakemake runs",
        )
    paths = _parts(folder)
    train = _classes(paths.pop("train"))
    parts = {"train": train}
    for part, path in paths.items():
        parts[part] = _classes(path, train.class_names)
        if more := [name for name in parts[part].class_names if name not in train.class_names]:
            raise InputError(
                f"{folder}: the class {more[0]} is in {path.name}, but not in {train.folder.name}",
                f"give {train.folder.name} a folder for each class",
            )
    return parts


def _parts(folder: Path) -> dict[str, Path]:
    """Folder with the class folders of each part."""
    names = [path.name for path in _visible(folder)]
    part_names = [name for name in names if name.casefold() in PART_NAMES]
    part_names.sort(key=lambda name: PARTS.index(KNOWN.get(name, "test")))
    if len(part_names) < 2 and names != ["train"]:
        return {"train": folder}
    both = " and ".join(part_names)
    folders: dict[str, Path] = {}
    for name in part_names:
        part = KNOWN.get(name)
        if part is None or part in folders or "train" not in part_names or len(part_names) < 2:
            understood = "; ".join(f"{part} in {' or '.join(NAMES[part])}" for part in PARTS)
            raise InputError(
                f"{folder}: {both} looks like a part, but parts are train and one or both of the"
                f" others ({understood})",
                "rename the folders, also if they are classes",
            )
        folders[part] = folder / name
    if others := [name for name in names if name not in part_names]:
        raise InputError(
            f"{folder}: has {others[0]} beside {both}",
            f"move it away, or rename {both} if they are classes",
        )
    return {part: folders[part] for part in PARTS if part in folders}


def _classes(folder: Path, known: list[str] | None = None) -> Listing:
    """Images of a folder of class folders; ``known`` are train's classes, for other parts."""
    paths = _visible(folder)
    if strays := [path for path in paths if not path.is_dir()]:
        raise InputError(
            f"{shown(str(strays[0]))}: no folder, but {folder} has a folder for each class only",
            "sort images into class folders, and move other files away",
        )
    least = 2 if known is None else 1
    if len(paths) < least:
        raise InputError(
            f"{folder}: has {len(paths)} class folders, but must have at least {least}"
        )
    if broken := [path.name for path in paths if not is_plain(path.name)]:
        raise InputError(
            f"{folder}: the class name '{shown(broken[0])}' has a line break, or another character"
            " that is not allowed in tables",
            "rename it",
        )
    listing = Listing(folder, [path.name for path in paths], [], [])
    numbers = {name: label for label, name in enumerate(known or listing.class_names)}
    for path in paths:
        found = list(_images(path, folder))
        if not found:
            raise InputError(f"{path}: a class without an image", "add some, or delete the folder")
        listing.files.extend(found)
        # A class that is not known is refused by the caller.
        listing.labels.extend([numbers.get(path.name, -1)] * len(found))
    return listing


def _images(folder: Path, root: Path) -> Iterator[Path]:
    """Images in a folder below ``root``, and in its subfolders."""
    check_link(folder, root)
    for path in _visible(folder):
        if path.is_dir():
            yield from _images(path, root)
        elif path.suffix.lower() in SUFFIXES:
            yield path
        else:
            raise InputError(
                f"{shown(str(path))}: no suffix of an image ({', '.join(sorted(SUFFIXES))})",
                "move it away",
            )


def _visible(folder: Path) -> list[Path]:
    try:
        names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{shown(str(folder))}: cannot be read ({reason_of(error)})") from error
    if broken := [name for name in names if has_line_break(name)]:
        raise InputError(f"{folder}: the name '{shown(broken[0])}' has a line break", "rename it")
    return [folder / name for name in names]


def _read_all(
    files: list[Path], shape: tuple[int, int, int], max_pixels: int | None
) -> dict[Path, str]:
    """SHA-256 of each file; refuse files that are no readable images."""
    from tqdm import tqdm

    read: Callable[[Path], tuple[str, str]] = lambda file: _read(file, shape, max_pixels)  # noqa: E731
    checksums, broken = {}, []
    with ThreadPoolExecutor(READERS) as threads:
        results = tqdm(threads.map(read, files), "images", len(files), unit="img", disable=None)
        for file, (digest, error) in zip(files, results, strict=True):
            checksums[file] = digest
            if error:
                LOGGER.warning(error)
                broken.append(error)
    if broken:
        more = f" (and {len(broken) - 1} more, see the log)" if len(broken) > 1 else ""
        raise InputError(f"{broken[0]}{more}", "repair or remove it")
    return checksums


def _read(file: Path, shape: tuple[int, int, int], max_pixels: int | None) -> tuple[str, str]:
    """Checksum of an image file, and the error that it has, if any."""
    from early_exit.datasets.images import load_image

    # First, since it refuses special and huge files before they are read for a checksum.
    try:
        load_image(file, shape, max_pixels)
    except InputError as error:
        return "", str(error)
    return sha256(file), ""
