"""Labels of images named on the command line."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from early_exit.errors import InputError, reason_of
from early_exit.io.names import shown
from early_exit.records.table import UNKNOWN

FOLDERS = "folders"


def labels_of(names: list[str], where: str | None, class_names: list[str]) -> list[int]:
    """Class index of each image, or ``UNKNOWN``.

    Parameters
    ----------
    names
        The images.
    where
        A CSV file with the columns ``image`` and ``label``; ``folders`` to take the name of an
        image's folder; ``None`` if no labels are known.

    Raises
    ------
    InputError
        If the file cannot be read, a label is no class, or the file has none of the images.
    """
    if where is None:
        return [UNKNOWN] * len(names)
    numbers = {name: number for number, name in enumerate(class_names)}
    if where == FOLDERS:
        return [_number(_folder_of(name), numbers, name) for name in names]
    by_working_folder, by_table_folder = _from_table(Path(where), numbers)
    paths = [os.path.realpath(name) for name in names]
    labels = [by_working_folder.get(one, by_table_folder.get(one, UNKNOWN)) for one in paths]
    if names and set(labels) == {UNKNOWN}:
        raise InputError(
            f"{where}: has a label of none of the {len(names)} images, {shown(names[0])} the first",
            "name them in it by paths from the working folder, or from the table's own",
        )
    return labels


def check_labels(labels: list[int], classes: int) -> None:
    """Refuse labels of classes that the network does not have.

    Raises
    ------
    InputError
        Gives the highest label.
    """
    if max(labels, default=0) >= classes:
        raise InputError(
            f"labels up to {max(labels)}, but the network has {classes} classes",
            "number them as the policy's data set does",
        )


def _folder_of(name: str) -> str:
    """Name of an image's folder; of a link, the folder of the link itself."""
    folder = Path(name).absolute().parent
    return (folder.resolve() if folder.name == ".." else folder).name


def _from_table(path: Path, numbers: dict[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Labels by image path, resolved from the working folder and from the table's own folder."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: cannot be read as a table of labels ({reason_of(error)})"
        ) from error
    if not rows or not {"image", "label"} <= rows[0].keys():
        raise InputError(f"{path}: needs the columns image and label, and at least one row")
    by_working_folder: dict[str, int] = {}
    by_table_folder: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        name = row["image"]
        if not name or "\0" in name:
            raise InputError(f"{path}: line {number} names no image")
        label = _number((row["label"] or "").strip(), numbers, f"{path}: {name}")
        paths = ((by_working_folder, name), (by_table_folder, path.parent / name))
        for known, image in paths:
            if known.setdefault(os.path.realpath(image), label) != label:
                raise InputError(
                    f"{path}: line {number} gives {shown(name)} another label than a line before",
                    "remove one of them",
                )
    return by_working_folder, by_table_folder


def _number(label: str, numbers: dict[str, int], where: str) -> int:
    """Index of a class that is given by its name or its index."""
    if label in numbers:
        return numbers[label]
    # Longer numbers are no class, and Python refuses to convert the longest.
    if label.isascii() and label.isdecimal() and len(label) < 10 and int(label) < len(numbers):
        return int(label)
    known = [shown(name) for name in list(numbers)[:10]]
    more = ", ..." if len(numbers) > 10 else ""
    raise InputError(
        f"{shown(where)}: '{shown(label[:80])}' is no class; these are: {', '.join(known)}{more}"
    )
