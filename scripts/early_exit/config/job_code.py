"""Fingerprint of all code that a job uses: script, library and the user's files.

It is computed when Snakemake plans the job, and again when the job starts. The first one is
recorded with the artifact. If the second differs, the code was edited in between, and the record
would be wrong.
"""

from __future__ import annotations

from pathlib import Path

from early_exit.config.code_file import CodeFile, code_file
from early_exit.config.fingerprint import fingerprint
from early_exit.errors import InputError

# Prefixes of the names of networks and data sets, each with the modules that run a user's file.
USERS = {"networks.zoo.": [], "datasets.": ["datasets.custom"]}


def job_code(folder: Path, script: str, *modules: str) -> list[str]:
    """Fingerprint of a job's code, followed by the script's name and ``modules``.

    Parameters
    ----------
    folder
        Folder of the scripts and of the library.
    script
        Name of the script.
    modules
        Modules that a setting chooses and no import names: ``calibration.methods.percentile``,
        ``networks.zoo.path/to/file.py:ClassName`` or ``datasets.path/to/file.py:ClassName``, for
        example.

    Raises
    ------
    InputError
        If a file of the user cannot be read.
    """
    files = {name: file_of(name) for name in modules}
    own = [file for file in files.values() if file]
    # First: it reports errors in the user's file.
    prints = [file.fingerprint() for file in own]
    running = [module for name in modules if files[name] for module in USERS[_prefix(name)]]
    named = [name for name in modules if not files[name]]
    chosen = [f"early_exit.{name}" for name in dict.fromkeys([*named, *running])]
    chosen += [module for file in own for module in file.imports_from(folder)]
    return ["-".join([fingerprint(folder, script, *chosen), *prints]), script, *modules]


def file_of(module: str) -> CodeFile | None:
    """The user's file in a module name such as ``networks.zoo.path/to/file.py:ClassName``."""
    return code_file(module.removeprefix(_prefix(module)))


def _prefix(module: str) -> str:
    return next((prefix for prefix in USERS if module.startswith(prefix)), "")


def check_code(folder: Path, planned: list[str]) -> None:
    """Check that a job's code is still what it was when the job was planned.

    Raises
    ------
    InputError
        If it was edited since.
    """
    if planned and job_code(folder, *planned[1:])[0] != planned[0]:
        own = [name.removeprefix(_prefix(name)) for name in planned[2:] if file_of(name)]
        files = ", ".join(own)
        raise InputError(
            f"{planned[1]}: the code of this job{f', or of {files},' if files else ''} was edited"
            " after the run was planned",
            "run again",
        )
