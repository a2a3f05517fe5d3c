"""The user's file that results were made with, among those that may be run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

from early_exit.config.code_file import CodeFile, code_file
from early_exit.errors import InputError, plain

# The setting that names such a class, by what the class is.
SETTINGS = {"network": "network.name", "data set": "dataset.name"}


def trusted_file(
    name: str, source: Any, trusted: Iterable[str], where: str, what: str
) -> CodeFile | None:
    """The trusted file with a class of this name, if its fingerprint is unchanged.

    Only trusted files are searched: a name in a result may be anybody's.

    Parameters
    ----------
    name
        ``path/to/file.py:ClassName``; of any other name the result is ``None``.
    source
        Fingerprint that the file had.
    trusted
        Names of classes in files that may be run.
    where
        The file that has the name, for messages.
    what
        What the class is, for messages: ``network`` or ``data set``.

    Raises
    ------
    InputError
        If the file is not trusted, missing, or was changed.
    """
    wanted = code_file(name)
    if wanted is None:
        return None
    named = [file for file in map(code_file, trusted) if file]
    files = [file for file in named if file.attribute == wanted.attribute]
    existing = [file for file in files if file.path.is_file()]
    for file in existing:
        if file.fingerprint() == source:
            return file
    start = f"{plain(where)}: "
    if existing:
        raise InputError(
            f"{start}{existing[0].path} was changed since this {what} was saved, or is another"
            " file",
            "restore the file, or run the workflow again",
        )
    if files:
        raise InputError(f"{start}its {what} is in {files[0].path}, which is missing", "restore it")
    code = shlex.quote(plain(name))
    raise InputError(
        f"{start}its {what} is code in a file, {code}, which runs only if you name it",
        f"read that file; if you trust it, give --trust-code {code} to early-exit, or make it the"
        f" {SETTINGS[what]} of an experiment in config.yaml",
    )
