"""Code fingerprint: a short hash of a script and of the local modules that it imports.

Snakemake detects an edit in a script, but not in a module that it imports, and takes a fresh
checkout for a change. This fingerprint is a parameter of every rule instead. It covers the logic of
the script and of all local modules that it imports, directly or indirectly. Comments, docstrings,
blank lines, file times and imports under ``if TYPE_CHECKING`` don't count.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

FOR_CHECKERS = ("TYPE_CHECKING", "typing.TYPE_CHECKING")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def fingerprint(folder: Path, *modules: str) -> str:
    """Fingerprint of ``modules`` and of everything in ``folder`` that they import.

    Parameters
    ----------
    folder
        Folder that local modules are imported from.
    modules
        Dotted names, such as ``sweep`` or ``early_exit.calibration.methods.percentile``.

    Raises
    ------
    FileNotFoundError
        If one of ``modules`` is not in the folder.
    """
    digest = hashlib.sha256()
    for name in sorted(reachable(folder, *modules)):
        digest.update(f"{name}:{_read(_file(folder, name))[1]}\n".encode())
    return digest.hexdigest()[:16]


def reachable(folder: Path, *modules: str) -> set[str]:
    """Local modules that ``modules`` import, including themselves and their packages."""
    found: set[str] = set()
    pending = list(modules)
    for name in modules:
        if _file(folder, name) is None:
            raise FileNotFoundError(f"no module {name} in {folder}")
    while pending:
        name = pending.pop()
        path = _file(folder, name)
        if name in found or path is None:
            continue
        found.add(name)
        package = name.rpartition(".")[0]
        pending += [package] if package else []
        pending += _read(path)[0]
    return found


def imported_by(folder: Path, name: str) -> list[str]:
    """Dotted names that a module in ``folder`` imports, local or not."""
    path = _file(folder, name)
    return list(_read(path)[0]) if path else []


def is_there(folder: Path, name: str) -> bool:
    """Whether ``folder`` has a module or package of that name."""
    return _file(folder, name) is not None


def _file(folder: Path, name: str) -> Path | None:
    stem = folder.joinpath(*name.split("."))
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imported_names(tree: ast.AST) -> Iterator[str]:
    for node in _walk_runtime(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError("relative imports are not followed; import by the full name")
            yield node.module
            # A name imported from a package may be one of its modules.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _walk_runtime(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes of ``ast.walk`` without those under ``if TYPE_CHECKING``."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        for_checkers = isinstance(node, ast.If) and ast.unparse(node.test) in FOR_CHECKERS
        pending += node.orelse if for_checkers else ast.iter_child_nodes(node)


@cache
def _read(path: Path) -> tuple[list[str], str]:
    """Dotted names that a file imports, and its logic: the syntax tree without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    imports = list(_imported_names(tree))
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return imports, ast.dump(tree)
