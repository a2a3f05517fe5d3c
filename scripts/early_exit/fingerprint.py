"""What a script computes, as a short hash: of its code and of the library code it imports.

Snakemake sees an edit in a script, but none in a module that the script imports, and takes a fresh
checkout for a change. This fingerprint is a parameter of every rule instead: it changes with the
logic of the script or of any local module that it imports, directly or through others, and with
nothing else. Comments, docstrings, blank lines and times of files do not count, nor does what is
imported for type checkers alone.
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
    """The fingerprint of ``modules`` and of everything in ``folder`` that they import.

    Parameters
    ----------
    folder
        The folder that local modules are imported from.
    modules
        Dotted names, such as ``sweep`` or ``early_exit.calibration.percentile``.

    Raises
    ------
    FileNotFoundError
        If one of ``modules`` is not in the folder.
    """
    digest = hashlib.sha256()
    for name in sorted(reachable(folder, *modules)):
        digest.update(f"{name}:{_logic(_file(folder, name))}\n".encode())
    return digest.hexdigest()[:16]


def reachable(folder: Path, *modules: str) -> set[str]:
    """The local modules that ``modules`` import, themselves and their packages included."""
    found: set[str] = set()
    waiting = list(modules)
    for name in modules:
        if _file(folder, name) is None:
            raise FileNotFoundError(f"no module {name} in {folder}")
    while waiting:
        name = waiting.pop()
        path = _file(folder, name)
        if name in found or path is None:
            continue
        found.add(name)
        package = name.rpartition(".")[0]
        waiting += [package] if package else []
        waiting += _imports(path)
    return found


def imported_by(folder: Path, name: str) -> list[str]:
    """Dotted names that a module in ``folder`` may import, wherever they are."""
    path = _file(folder, name)
    return _imports(path) if path else []


def is_there(folder: Path, name: str) -> bool:
    """Whether ``folder`` has a module, or package, of that name."""
    return _file(folder, name) is not None


def _file(folder: Path, name: str) -> Path | None:
    stem = folder.joinpath(*name.split("."))
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _imports(path: Path) -> list[str]:
    """Dotted names that a file may import; whether they are local is for the caller to see."""
    return list(_imported_names(_parse(path)))


def _imported_names(tree: ast.AST) -> Iterator[str]:
    for node in _that_runs(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError("relative imports are not followed; import by the full name")
            yield node.module
            # What is imported from a package may be a module of it.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _that_runs(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes, as ``ast.walk`` gives them, but for those under ``if TYPE_CHECKING``."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for_checkers = isinstance(node, ast.If) and ast.unparse(node.test) in FOR_CHECKERS
        waiting += node.orelse if for_checkers else ast.iter_child_nodes(node)


@cache
def _logic(path: Path) -> str:
    """The syntax tree without docstrings, as text: positions and comments are not in it."""
    tree = _parse(path)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
