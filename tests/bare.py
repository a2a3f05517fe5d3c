"""A Python environment with some installed packages and nothing else, made without the internet."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def bare_environment(folder: Path, requirements: Path) -> Path:
    """An environment with what ``requirements`` names, and what that needs; its Python.

    What is installed here is linked, not copied.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    lines = [line.split("#")[0].strip() for line in requirements.read_text().splitlines()]
    for name in closure([line for line in lines if line]):
        for part in top_level(name):
            if not (site / part.name).exists():
                (site / part.name).symlink_to(part)
    return folder / "bin/python"


def closure(names: list[str]) -> set[str]:
    """The distributions that ``names`` are, and need, for this Python and platform."""
    found: set[str] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        wanted = waiting.pop()
        needed = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if not needed or wanted.name.lower() in found:
            continue
        found.add(wanted.name.lower())
        waiting += map(Requirement, distribution(wanted.name).requires or [])
    return found


def top_level(name: str) -> set[Path]:
    """The files and folders in site-packages that a distribution consists of."""
    try:
        own = distribution(name)
    except PackageNotFoundError as error:
        raise AssertionError(f"{name} is not installed here") from error
    parts = {file.parts[0] for file in own.files or [] if file.parts[0] not in ("..", "/")}
    return {Path(own.locate_file(part)) for part in parts - {"__pycache__"}}
