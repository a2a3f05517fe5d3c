"""Labels and class names of a user's data, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from early_exit.datasets.arrays import as_numpy
from early_exit.errors import InputError
from early_exit.io.names import is_plain, shown

# A larger label is a mistake: heads have a weight or more for each class.
MOST_CLASSES = 1_000_000


def checked_labels(given: Any, where: str) -> np.ndarray:
    """Labels (N,), int64, from 0.

    Labels of two classes may also be booleans, or the floating-point numbers 0 and 1, of shape (N,)
    or (N, 1), as a network of one logit is trained with.

    Raises
    ------
    InputError
        If they are no integers from 0, or too large.
    """
    labels = np.asarray(as_numpy(given) if hasattr(given, "detach") else given)
    binary = labels.dtype.kind == "b" or (
        labels.dtype.kind == "f" and labels.size and bool(np.isin(labels, (0, 1)).all())
    )
    found = labels.astype(np.int64) if binary else labels
    if binary and found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1 or found.dtype.kind not in "iu" or not len(found) or found.min() < 0:
        raise InputError(
            f"{where} are {labels.dtype} of shape {labels.shape}, but must be integers from 0, of"
            " shape (N,)"
        )
    # Before the cast: uint64 may be larger than any int64.
    if (highest := int(found.max())) >= MOST_CLASSES:
        raise InputError(
            f"{where} have the label {highest}; classes are numbered from 0, with at most"
            f" {MOST_CLASSES} of them"
        )
    return found.astype(np.int64)


def checked_class_names(
    given: Any, train: np.ndarray, others: Sequence[np.ndarray], where: str, what: str
) -> list[str]:
    """Names of the classes, or their numbers; each needs a train sample, each label a name.

    Parameters
    ----------
    given
        C different strings, or ``None``.
    train, others
        Labels of the train split, and of the others.
    where, what
        Where they are from, and what has the train split's samples, for messages.

    Raises
    ------
    InputError
        If the names are not different plain strings, or a class or a name is missing.
    """
    highest = max(int(one.max()) for one in (train, *others))
    present = np.unique(train)
    names = np.asarray(given) if given is not None else None
    if names is None:
        _check_every_number(present, highest, where, what)
        names = np.arange(highest + 1).astype(str)
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) != len(names):
        raise InputError(f"{where}: class_names must be different strings of shape (C,)")
    if broken := [name for name in names.tolist() if not is_plain(name)]:
        raise InputError(
            f"{where}: the class name '{shown(broken[0])}' has a line break, or another character"
            " that is not allowed in tables",
            "rename it",
        )
    if highest >= len(names) or len(names) < 2:
        raise InputError(
            f"{where}: {len(names)} class_names, but labels up to {highest}",
            "give a name for each class, at least 2",
        )
    empty = np.setdiff1d(np.arange(len(names)), present)
    if len(empty):
        raise InputError(f"{where}: nothing in {what} is of the class {names[empty[0]]}")
    return names.tolist()


def _check_every_number(present: np.ndarray, highest: int, where: str, what: str) -> None:
    """Refuse gaps in the labels if there are no class names."""
    if len(present) != highest + 1:
        raise InputError(
            f"{where}: the label {highest}, but only {len(present)} classes in {what}",
            "number the classes from 0 without a gap",
        )
