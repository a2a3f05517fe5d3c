"""An environment with requirements-core.txt and nothing else, made without a network.

What those requirements need, and what that needs, is linked from the environment of the tests.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def requirements(path: Path = ROOT / "requirements-core.txt") -> list[Requirement]:
    """The lines of a requirements file."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line]


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
                needs = found[name].requires or []
                waiting += [(Requirement(line), own) for line in needs]
    return found


def make(folder: Path) -> Path:
    """Make the environment; its python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for one in closure(requirements()).values():
        for file in one.files or []:
            first = file.parts[0]
            link = packages / first
            if first not in ("..", "__pycache__") and not link.is_symlink():
                link.symlink_to(one.locate_file(first))
    return folder / "bin/python"
