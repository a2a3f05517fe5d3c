from pathlib import Path

import pytest

from early_exit.config.fingerprint import fingerprint, reachable

SCRIPTS = Path(__file__).parents[3] / "scripts"
FILES = {
    "script.py": "from pkg.upper import work\n\nprint(work())\n",
    "pkg/__init__.py": '"""A package."""\n',
    "pkg/upper.py": "from pkg import lower\n\ndef work():\n    return lower.value()\n",
    "pkg/lower.py": '"""Lower."""\n\ndef value():\n    """One."""\n    # why\n    return 1\n',
    "pkg/apart.py": "x = 1\n",
}


@pytest.fixture
def write(tmp_path):
    """Write FILES, with some of them changed, into a folder of their own."""
    folders = iter(range(100))

    def written(**changes):
        folder = tmp_path / str(next(folders))
        for name, text in FILES.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(changes.get(path.stem, text))
        return folder

    return written


@pytest.mark.parametrize(
    "lower",
    [
        "def value():\n    return 1\n",
        '"""Other words."""\n\n\ndef value():\n    """Two."""\n    return 1  # because\n',
        "def value():\n\n    return (1)\n",
    ],
)
def test_comments_docstrings_and_layout_do_not_count(write, lower):
    assert fingerprint(write(), "script") == fingerprint(write(lower=lower), "script")


def test_logic_counts_however_deep(write):
    deep = write(lower="def value():\n    return 2\n")
    assert fingerprint(write(), "script") != fingerprint(deep, "script")
    package = write(__init__="import os\n")
    assert fingerprint(write(), "script") != fingerprint(package, "script")


def test_other_modules_do_not_count(write):
    assert fingerprint(write(), "script") == fingerprint(write(apart="x = 2\n"), "script")


def test_named_modules_count(write):
    before, after = write(), write(apart="x = 2\n")
    assert fingerprint(before, "script", "pkg.apart") != fingerprint(after, "script", "pkg.apart")


def test_imports_are_followed_with_their_packages(write):
    assert reachable(write(), "script") == {"script", "pkg", "pkg.upper", "pkg.lower"}


@pytest.mark.parametrize("statement", ["import pkg.apart", "from pkg.apart import x"])
def test_imports_within_functions_are_followed(write, statement):
    folder = write(lower=f"def value():\n    {statement}\n    return 1\n")
    assert "pkg.apart" in reachable(folder, "script")


def test_a_missing_module_and_a_relative_import_are_errors(write):
    with pytest.raises(FileNotFoundError, match="no module gone"):
        fingerprint(write(), "gone")
    with pytest.raises(ValueError, match="relative"):
        fingerprint(write(lower="from . import apart\n"), "script")


@pytest.mark.parametrize("condition", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_imports_for_type_checkers_alone_are_not_followed(write, condition):
    guarded = f"import typing\nif {condition}:\n    import pkg.apart\nelse:\n    import pkg.lower\n"
    found = reachable(write(script=guarded), "script")
    assert found == {"script", "pkg", "pkg.lower"}


def behind(script):
    """Modules that a script may use, with any network and data, and their packages."""
    chosen = [
        f"early_exit.{wing.replace('/', '.')}.{path.stem}"
        for wing in ("networks", "networks/zoo", "datasets")
        for path in (SCRIPTS / "early_exit" / wing).glob("[!_]*.py")
    ]
    return with_wings(reachable(SCRIPTS, script, *chosen))


def with_wings(modules):
    """Their names without `early_exit.`, and those of their packages."""
    names = {module.removeprefix("early_exit.") for module in modules}
    return names | {name.partition(".")[0] for name in names if "." in name}


@pytest.mark.parametrize("script", ["data", "network_import", "network_train"])
def test_a_network_does_not_depend_on_what_is_done_with_its_records(script):
    later = {"records", "policy", "calibration", "analysis", "figures"}
    assert not behind(script) & later


@pytest.mark.parametrize(
    ("script", "later"),
    [
        ("exits", {"policy", "calibration", "analysis", "inference.cost"}),
        ("exits_join", {"policy", "calibration", "analysis", "inference"}),
        ("cost", {"policy", "calibration", "analysis", "records.table", "records.parquet"}),
    ],
)
def test_a_pass_does_not_depend_on_what_comes_after_it(script, later):
    assert not behind(script) & later


@pytest.mark.parametrize("script", ["data", "network_import"])
def test_what_runs_no_pass_does_not_depend_on_how_one_runs(script):
    assert "inference.engine" not in with_wings(reachable(SCRIPTS, script))
