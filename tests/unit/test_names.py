"""Tests of the tests' own file names."""

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]
# Built at run time, or this file would have them.
MARKERS = tuple(7 * sign for sign in "<>")
FOLDERS = (
    "scripts",
    "rules",
    "tests",
    "docs",
    "profiles",
    "envs",
    "examples",
    "workflow",
    "config",
)
TEXT = {".py", ".smk", ".md", ".yaml", ".toml", ".js", ".css", ".html", ".rst", ".sh"}


def test_no_two_test_files_have_one_name():
    """pytest imports test files by their names alone, and refuses the second of a name in a run."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert {name for name, count in names.items() if count > 1} == set()


def test_no_file_has_markers_of_a_conflict():
    """In a text, such as that of a command's help, nothing else would find them."""
    root = TESTS.parent
    files = [path for name in FOLDERS for path in (root / name).rglob("*") if path.suffix in TEXT]
    files += [path for path in root.iterdir() if path.suffix in TEXT]
    marked = [
        path.relative_to(root).as_posix()
        for path in files
        if "_build" not in path.parts
        and any(line.startswith(MARKERS) for line in path.read_text("utf-8").splitlines())
    ]
    assert marked == []
