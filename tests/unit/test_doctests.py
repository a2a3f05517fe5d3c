"""The examples in the library's docstrings run; those of the API are in tests/unit/api."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "scripts/early_exit"
MODULES = [
    ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts)
    for path in sorted(LIBRARY.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8") and "api" not in path.parts
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_show(name):
    import numpy as np

    found = doctest.testmod(import_module(name), extraglobs={"np": np})
    assert found.attempted > 0
    assert found.failed == 0
