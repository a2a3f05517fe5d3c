"""A Python environment with some installed packages and nothing else, made without the internet."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement


def bare_environment(folder: Path, requirements: Path) -> Path:
    """An environment with what ``requirements`` names, and what that needs; its Python.

    What is installed here is linked, not copied.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    lines = (line.partition("#")[0].strip() for line in requirements.read_text().splitlines())
    for one in closure([Requirement(line) for line in lines if line]).values():
        for first in {file.parts[0] for file in one.files or []} - {"..", "/", "__pycache__"}:
            link = packages / first
            if not link.is_symlink():
                link.symlink_to(one.locate_file(first))
    return folder / "bin/python"


def closure(wanted: list[Requirement]) -> dict[str, Distribution]:
    """What is wanted and what that needs, with extras and by markers; by name."""
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
