"""A network of the user's own, ``path/to/file.py:ClassName``: where it is, and its fingerprint.

Nothing here runs the file; see :mod:`early_exit.networks.own` for that.
"""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass
from pathlib import Path

from early_exit.errors import InputError
from early_exit.fingerprint import fingerprint, imported_by, is_there, reachable


@dataclass(frozen=True)
class NetworkFile:
    """A file and the class, or function that gives a network, in it.

    Attributes
    ----------
    path
        The file; a path that is not absolute starts where the program runs.
    attribute
        The name in it.
    """

    path: Path
    attribute: str

    def check(self) -> None:
        """Refuse a file that is not there, cannot be imported by its name, is no Python, or lacks
        the name in it.

        Raises
        ------
        InputError
            Saying which, without running the file.
        """
        if not self.path.is_file():
            raise InputError(
                f"there is no file {self.path} (paths start from {Path.cwd().name}/, where"
                " snakemake runs)"
            )
        if "." in self.path.stem:
            better = self.path.stem.replace(".", "_") + self.path.suffix
            raise InputError(
                f"{self.path}: has a dot in its name, which Python takes for a folder; rename it to"
                f" {better}"
            )
        try:
            tree = ast.parse(self.path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError) as error:
            raise InputError(f"{self.path}: no Python that can be read ({error})") from error
        defined = (ast.ClassDef, ast.FunctionDef)
        names = [node.name for node in tree.body if isinstance(node, defined)]
        if self.attribute not in names:
            near = difflib.get_close_matches(self.attribute, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(names) or 'none'}"
            raise InputError(f"{self.path}: no class or function {self.attribute}; {hint}")

    def fingerprint(self) -> str:
        """Of the logic of the file, and of what it imports from its own folder.

        Raises
        ------
        InputError
            If one of these files cannot be read.
        """
        try:
            return fingerprint(self.path.absolute().parent, self.path.stem)
        except FileNotFoundError as error:
            raise InputError(f"there is no file {self.path}") from error
        except (SyntaxError, ValueError) as error:
            raise InputError(f"{self.path}: what it imports cannot be read ({error})") from error

    def imports_from(self, folder: Path) -> list[str]:
        """The modules in another ``folder``, the library's, that it imports."""
        beside = self.path.absolute().parent
        own = reachable(beside, self.path.stem)
        named = {name for module in own for name in imported_by(beside, module)}
        return sorted(name for name in named - own if is_there(folder, name))


def network_file(name: str) -> NetworkFile | None:
    """What ``path/to/file.py:ClassName`` names; ``None`` for a network of this project."""
    path, colon, attribute = name.rpartition(":")
    return NetworkFile(Path(path).expanduser(), attribute) if colon else None
