"""Networks and data sets in a user's file, ``path/to/file.py:ClassName``: checks and fingerprint.

The file is parsed, never run; :mod:`early_exit.config.run_code` runs it.
"""

from __future__ import annotations

import ast
import difflib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from early_exit.config.fingerprint import fingerprint, imported_by, is_there, reachable
from early_exit.errors import InputError


@dataclass(frozen=True)
class CodeFile:
    """A class, or a function that returns an object of one, in a Python file.

    Attributes
    ----------
    path
        The file; relative paths start from the working directory.
    attribute
        Name of the class or function.
    """

    path: Path
    attribute: str

    def check(self) -> None:
        """Check that the file exists, can be imported and defines the name, without running it.

        Raises
        ------
        InputError
            If one of these fails.
        """
        if not self.path.is_file():
            raise InputError(
                f"there is no file {self.path} (paths start from {Path.cwd().name}/, where"
                " snakemake runs)"
            )
        if "." in self.path.stem:
            better = self.path.stem.replace(".", "_") + self.path.suffix
            raise InputError(
                f"{self.path}: a dot in its name stands for a folder in Python",
                f"rename it to {better}",
            )
        try:
            tree = ast.parse(self.path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"{self.path}: not valid Python ({error})") from error
        defined = (ast.ClassDef, ast.FunctionDef)
        names = [node.name for node in tree.body if isinstance(node, defined)]
        if self.attribute not in names:
            near = difflib.get_close_matches(self.attribute, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(names) or 'none'}"
            raise InputError(f"{self.path}: no class or function {self.attribute}", hint)

    def fingerprint(self) -> str:
        """Code fingerprint of the file and of what it imports from its own folder.

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
            raise InputError(f"{self.path}: an import of it cannot be read ({error})") from error

    def imports_from(self, folder: Path) -> list[str]:
        """Modules of another ``folder``, the library's, that the file imports."""
        beside = self.path.absolute().parent
        own = reachable(beside, self.path.stem)
        named = {name for module in own for name in imported_by(beside, module)}
        return sorted(name for name in named - own if is_there(folder, name))


def code_file(name: str) -> CodeFile | None:
    """Parse ``path/to/file.py:ClassName``; ``None`` for a name without a file."""
    path, colon, attribute = name.rpartition(":")
    file = Path(path)
    # `~name` of an unknown user is kept, and the file is reported as missing.
    with suppress(RuntimeError):
        file = file.expanduser()
    return CodeFile(file, attribute) if colon else None
