"""Python environments with some of the installed packages, made without the internet."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def declared(*extras: str) -> list[str]:
    """Requirements of the package and some of its extras, from pyproject.toml."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    return wanted


def lines_of(file: Path) -> list[str]:
    """Requirements in a requirements file."""
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return [line for line in lines if line]


def bare_environment(folder: Path, requirements: Iterable[str]) -> Path:
    """Make an environment of ``requirements`` and what they need; return its Python.

    Packages installed here are linked, not copied.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    link_packages(folder, requirements)
    return folder / "bin/python"


def link_packages(folder: Path, requirements: Iterable[str]) -> None:
    """Link ``requirements``, and what they need, into an environment from the running one."""
    (packages,) = folder.glob("lib/python*/site-packages")
    for one in closure([Requirement(line) for line in requirements]).values():
        for first in {file.parts[0] for file in one.files or []} - {"..", "/", "__pycache__"}:
            link = packages / first
            if not link.is_symlink():
                link.symlink_to(one.locate_file(first))


def closure(wanted: list[Requirement]) -> dict[str, Distribution]:
    """Requirements and their dependencies, by name, with extras and markers."""
    found: dict[str, Distribution] = {}
    waiting = [(one, "") for one in wanted]
    seen = set()
    while waiting:
        one, extra = waiting.pop()
        if one.marker and not one.marker.evaluate({"extra": extra}):
            continue
        name = re.sub(r"[-_.]+", "-", one.name).lower()
        for own in ("", *one.extras):
            if (name, own) not in seen:
                seen.add((name, own))
                found[name] = distribution(one.name)
                waiting += [(Requirement(line), own) for line in found[name].requires or []]
    return found
