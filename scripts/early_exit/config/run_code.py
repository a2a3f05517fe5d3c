"""Runs a user's file and returns the class that it defines."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from early_exit.config.code_file import CodeFile
from early_exit.config.fingerprint import reachable
from early_exit.errors import InputError, reason_of


def run_code(file: CodeFile, kind: str) -> Callable[..., Any]:
    """The class, or function, that the file defines. The file is run.

    Parameters
    ----------
    kind
        A word for the module's name, such as ``network``: the same file may be run as another.

    Raises
    ------
    InputError
        If the file is missing or cannot be imported, or imports a module of its folder whose name
        is that of another module in this process.
    """
    file.check()
    return getattr(_run(file.path.resolve(), kind), file.attribute)


def _run(path: Path, kind: str) -> ModuleType:
    _check_names(path)
    name = f"own_{kind}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and pickle look modules up there.
    sys.modules[name] = module
    with _first_on_path(path.parent):
        try:
            spec.loader.exec_module(module)
        # The user's code can raise anything. SystemExit would end the job as if it were done.
        except (Exception, SystemExit) as error:
            raise InputError(f"{path.name}: cannot be imported ({reason_of(error)})") from error
    return module


def _check_names(path: Path) -> None:
    """Refuse imports that would find a module of another folder: the network's, for a data set."""
    for name in sorted(reachable(path.parent, path.stem) - {path.stem}):
        found = getattr(sys.modules.get(name), "__file__", None)
        if found and not Path(found).resolve().is_relative_to(path.parent):
            raise InputError(
                f"{path.name}: imports {name} from its own folder, but {found} has that name too",
                "rename one of them",
            )


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Put a folder first on the import path within the block, and last after it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
