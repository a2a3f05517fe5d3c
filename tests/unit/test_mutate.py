"""Faults are planted one at a time, as reported, and depend only on the seed."""

import ast

import pytest

import mutate

SOURCE = '''"""A module."""
from early_exit.errors import InputError

LIMIT = 3


def first(values: list[int], most: int = 2) -> int:
    """Of the values the first that is allowed."""
    for value in values:
        if not value or value > LIMIT + most:
            raise InputError(f"{value} is too much: at most {LIMIT + 1}")
        values.append(min(value, most))
        values.insert(0, value)
    return max(values, key=abs)
'''


@pytest.fixture
def root(tmp_path):
    (tmp_path / "scripts/early_exit/kinds").mkdir(parents=True)
    (tmp_path / "tests/unit").mkdir(parents=True)
    library = tmp_path / "scripts/early_exit"
    (library / "__init__.py").write_text("")
    (library / "errors.py").write_text("class InputError(Exception): ...\n")
    (library / "some.py").write_text(SOURCE)
    (library / "user.py").write_text("from early_exit import some\n")
    (library / "kinds/__init__.py").write_text("")
    (library / "kinds/one.py").write_text("ONE = 1\n")
    for name, line in {
        "some": "from early_exit.some import first",
        "others": "import early_exit.some",
        "user": "from early_exit.user import some",
        "kinds": "from early_exit.kinds import find",
    }.items():
        (tmp_path / f"tests/unit/test_{name}.py").write_text(line + "\n")
    return tmp_path


def test_every_fault_changes_the_code_and_is_code(root):
    source = SOURCE.encode()
    faults = mutate.faults_of("early_exit.some", root)
    for fault in faults:
        planted = fault.planted(source)
        assert ast.dump(ast.parse(planted)) != ast.dump(ast.parse(source)), fault
        assert planted[: fault.start] == source[: fault.start]
        assert planted.endswith(source[fault.end :])
    kinds = {(fault.old.split("\n")[0], fault.new.split("\n")[0]) for fault in faults}
    assert {
        ("3", "4"),
        ("LIMIT + most", "(LIMIT - most)"),
        ("value > LIMIT + most", "(value >= LIMIT + most)"),
        ("not value or value > LIMIT + most", "(not value and value > LIMIT + most)"),
        ("not value", "value"),
        ("min", "max"),
        ("values.insert(0, value)", "(values.insert(value, 0))"),
        ("max(values, key=abs)", "(max(values))"),
        ("values.append(min(value, most))", "pass"),
        ("for value in values:", "for value in values:"),
    } <= kinds
    assert ("if not value or value > LIMIT + most:", "if True:") in kinds
    # Nor of what is the same in any order.
    assert ("min(value, most)", "(min(most, value))") not in kinds
    # Of what is the same in any order the order is left alone.
    assert ("min(value, most)", "(min(most, value))") not in kinds
    # No fault in a message or an annotation.
    assert not [fault for fault in faults if fault.old == "1" or "list" in fault.old[:4]]


def test_the_same_seed_plants_the_same_faults(root, monkeypatch):
    monkeypatch.setattr(mutate, "ROOT", root)
    drawn = mutate.drawn(["early_exit.some"], 5, 0)
    assert drawn == mutate.drawn(["early_exit.some"], 5, 0)
    assert drawn != mutate.drawn(["early_exit.some"], 5, 1)
    assert len({fault.line for fault in drawn}) == 5


def test_tests_are_found_by_what_they_import(root):
    groups = mutate.Tests(root).groups
    files = [
        [f"tests/unit/test_{name}.py" for name in group]
        for group in (["some"], ["others"], ["user"])
    ]
    assert groups("early_exit.some") == files
    # What is looked up by its name is covered by those that import its package.
    assert groups("early_exit.kinds.one") == [["tests/unit/test_kinds.py"]]


def test_a_package_stands_for_all_in_it(root):
    chosen = mutate.chosen_modules("early_exit.kinds,early_exit.some", root)
    assert chosen == ["early_exit.kinds", "early_exit.kinds.one", "early_exit.some"]
    with pytest.raises(SystemExit, match="none of them"):
        mutate.chosen_modules("early_exit.som", root)


def test_the_whole_library_has_faults():
    modules = mutate.modules_of(mutate.ROOT)
    faults = {module: mutate.faults_of(module, mutate.ROOT) for module in modules}
    assert sum(map(len, faults.values())) > 3000
    # Every fiftieth, in modules small and large.
    for fault in [fault for own in faults.values() for fault in own][::50]:
        ast.parse(fault.planted((mutate.ROOT / fault.path).read_bytes()))
