"""A folder of class folders with pictures in them, as torchvision's ImageFolder has it.

``path`` holds a folder for each class, or ``train`` and ``test``, each with the same class folders.
Classes are numbered by their names, sorted; so are pictures within a class, those in folders
further down among them. Hidden files are passed over.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.datasets import Contents
from early_exit.errors import InputError
from early_exit.files import has_line_break

if TYPE_CHECKING:
    from early_exit.datasets import Split

NEEDED = ("path", "size")
SETTINGS = ("test",)
PARTS = ("train", "test")
# Of what is not set: a tenth for each.
SHARE = 10
# Files with other endings are no pictures, and told.
SUFFIXES = {".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".gif"}
READERS = 4
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listing:
    """The pictures of one folder of class folders.

    Attributes
    ----------
    class_names
        Sorted.
    files
        Class by class.
    labels
        The class of each file, from 0.
    """

    class_names: list[str]
    files: list[Path]
    labels: list[int]


def prepare(data_dir: Path, settings: dict[str, Any]) -> Contents:
    """Read every picture once: its checksum, and whether it can be read at all.

    Raises
    ------
    InputError
        If ``data_dir``, which the setting ``path`` names, is no such folder, or if pictures in it
        cannot be read.
    """
    listings = listed(data_dir)
    shape = shape_of(settings)
    if len(listings) == 2 and settings["test"] is not None:
        raise InputError(f"dataset.test: {data_dir / 'test'} has the test pictures; leave it out")
    checksums = _read_all([file for one in listings.values() for file in one.files], shape)
    files = {}
    for part, listing in listings.items():
        for label, name in enumerate(listing.class_names):
            own = [f for f, of in zip(listing.files, listing.labels, strict=True) if of == label]
            digest = hashlib.sha256()
            for file in own:
                digest.update(f"{file.relative_to(data_dir).as_posix()}\n".encode())
                digest.update(f"{checksums[file]}\n".encode())
            place = f"{part}/{name}" if part else name
            files[place] = f"{len(own)} pictures, sha256:{digest.hexdigest()}"
    return Contents(next(iter(listings.values())).class_names, shape, files)


def load(data_dir: Path, split: str, settings: dict[str, Any]) -> Split:
    """Read one split; see the package."""
    import torch

    from early_exit.datasets import Split
    from early_exit.datasets.pictures import Pictures
    from early_exit.datasets.splits import in_three

    listings = listed(data_dir)
    samples = [len(one.files) for one in listings.values()]
    index = in_three(samples, settings, max(1, samples[0] // SHARE))[split]
    # Train and test, where they are apart, are numbered through.
    files = [file for one in listings.values() for file in one.files]
    labels = torch.tensor([label for one in listings.values() for label in one.labels])
    chosen = Pictures([files[place] for place in index.tolist()], shape_of(settings))
    return Split(chosen.kept(), labels[index], index)


def shape_of(settings: dict[str, Any]) -> tuple[int, int, int]:
    """Channels (always 3), height and width of the setting ``size``."""
    size = settings["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return 3, height, width


def listed(folder: Path) -> dict[str, Listing]:
    """The pictures by part: ``train`` and ``test`` if those are there, else all under ``""``.

    Raises
    ------
    InputError
        If there is no such folder, a class is empty, there is one class only, something is no
        picture, or the parts have different classes.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: there is no such folder; set dataset.path to where it is (from"
            " where snakemake runs)"
        )
    names = [place.name for place in _visible(folder)]
    if not set(PARTS) <= set(names):
        return {"": _classes(folder)}
    if others := sorted(set(names) - set(PARTS)):
        raise InputError(
            f"{folder}: has {others[0]} beside train and test; move it away, or rename train and"
            " test if they are classes"
        )
    train, test = (_classes(folder / part) for part in PARTS)
    if apart := sorted(set(train.class_names) ^ set(test.class_names)):
        raise InputError(f"{folder}: the class {apart[0]} is in one of train and test only")
    return {"train": train, "test": test}


def _classes(folder: Path) -> Listing:
    places = _visible(folder)
    if strays := [place for place in places if not place.is_dir()]:
        raise InputError(
            f"{strays[0]}: no folder; {folder} has a folder for each class, and nothing else"
        )
    if len(places) < 2:
        raise InputError(f"{folder}: has {len(places)} class folders, but must have 2 at least")
    listing = Listing([place.name for place in places], [], [])
    for label, place in enumerate(places):
        found = list(_pictures(place))
        if not found:
            raise InputError(f"{place}: a class without a picture; add some, or delete the folder")
        listing.files.extend(found)
        listing.labels.extend([label] * len(found))
    return listing


def _pictures(folder: Path) -> Iterator[Path]:
    for place in _visible(folder):
        if place.is_dir():
            yield from _pictures(place)
        elif place.suffix.lower() in SUFFIXES:
            yield place
        else:
            raise InputError(
                f"{place}: no picture by its name ({', '.join(sorted(SUFFIXES))}); move it away"
            )


def _visible(folder: Path) -> list[Path]:
    names = sorted(place.name for place in folder.iterdir() if not place.name.startswith("."))
    if broken := [name for name in names if has_line_break(name)]:
        raise InputError(f"{folder}: the name {broken[0]!r} has a line break; rename it")
    return [folder / name for name in names]


def _read_all(files: list[Path], shape: tuple[int, int, int]) -> dict[Path, str]:
    """The SHA-256 of each file, all of which must be pictures."""
    from tqdm import tqdm

    read: Callable[[Path], tuple[str, str]] = lambda file: _read(file, shape)  # noqa: E731
    checksums, broken = {}, []
    with ThreadPoolExecutor(READERS) as threads:
        results = tqdm(threads.map(read, files), "pictures", len(files), unit="img", disable=None)
        for file, (digest, error) in zip(files, results, strict=True):
            checksums[file] = digest
            if error:
                LOGGER.warning(error)
                broken.append(error)
    if broken:
        more = f" (and {len(broken) - 1} more, see the log)" if len(broken) > 1 else ""
        raise InputError(f"{broken[0]}{more}; mend it, or take it away")
    return checksums


def _read(file: Path, shape: tuple[int, int, int]) -> tuple[str, str]:
    """Checksum, and what is wrong with it."""
    from early_exit.pictures import read_picture

    content = io.BytesIO(file.read_bytes())
    content.name = str(file)
    digest = hashlib.sha256(content.getbuffer()).hexdigest()
    try:
        read_picture(content, list(shape))
    except InputError as error:
        return digest, str(error)
    return digest, ""
