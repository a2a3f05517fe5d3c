"""Labels of pictures that are named on the command line."""

from __future__ import annotations

import csv
from pathlib import Path

from early_exit.errors import InputError
from early_exit.records import UNKNOWN

FOLDERS = "folders"


def labels_of(names: list[str], where: str | None, class_names: list[str]) -> list[int]:
    """The class of each picture as a number from 0, or ``UNKNOWN``.

    Parameters
    ----------
    names
        The pictures.
    where
        A CSV file with the columns ``picture`` and ``label``; ``folders`` for the name of the
        folder that a picture lies in; ``None`` where nothing is known.

    Raises
    ------
    InputError
        If the file is none, a label is no class, or the file has none of the pictures.
    """
    if where is None:
        return [UNKNOWN] * len(names)
    numbers = {name: number for number, name in enumerate(class_names)}
    if where == FOLDERS:
        return [_number(_folder_of(name), numbers, name) for name in names]
    known = _from_table(Path(where), numbers)
    labels = [known.get(Path(name).resolve(), UNKNOWN) for name in names]
    if names and set(labels) == {UNKNOWN}:
        raise InputError(
            f"{where}: has a label of none of the {len(names)} pictures, {names[0]} the first; name"
            " them in it by a path from here, or from its folder"
        )
    return labels


def _folder_of(name: str) -> str:
    """The name of the folder that a picture lies in; that of a link, not of what it leads to."""
    folder = Path(name).absolute().parent
    return (folder.resolve() if folder.name == ".." else folder).name


def _from_table(path: Path, numbers: dict[str, int]) -> dict[Path, int]:
    """Labels by the picture's path."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: no readable table of labels ({error})") from error
    if not rows or not {"picture", "label"} <= rows[0].keys():
        raise InputError(f"{path}: needs the columns picture and label, and a row at least")
    known = {}
    for number, row in enumerate(rows, start=2):
        if not row["picture"]:
            raise InputError(f"{path}: line {number} names no picture")
        label = _number((row["label"] or "").strip(), numbers, f"{path}: {row['picture']}")
        # From where the command runs, or from the table's own folder.
        known[Path(row["picture"]).resolve()] = label
        known[(path.parent / row["picture"]).resolve()] = label
    return known


def _number(label: str, numbers: dict[str, int], where: str) -> int:
    """The number of a class that is given by its name, or by its number."""
    if label in numbers:
        return numbers[label]
    if label.isdecimal() and int(label) < len(numbers):
        return int(label)
    shown = ", ".join(list(numbers)[:10]) + (", ..." if len(numbers) > 10 else "")
    raise InputError(f"{where}: {label!r} is no class; these are: {shown}")
