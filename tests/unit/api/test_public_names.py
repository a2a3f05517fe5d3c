"""The names of ``import early_exit``, and the modules that it must not import."""

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import early_exit as ee
from early_exit import api
from early_exit.api import names, public

SCRIPTS = Path(__file__).parents[3] / "scripts"


def python(code: str) -> str:
    """Output of ``code`` in a new Python process with the library on its path."""
    lines = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_loads_nothing_heavy():
    heavy = "{'torch', 'pandas', 'numpy', 'scipy', 'matplotlib', 'pyarrow'} & {*sys.modules}"
    assert python(f"import early_exit; print({heavy})") == "set()"


def test_records_need_no_torch():
    code = """
class NoTorch:
    def find_spec(name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch)
import numpy as np, early_exit as ee
rng = np.random.default_rng(0)
labels = rng.integers(0, 3, 90)
logits = rng.normal(size=(90, 2, 3)) + 2 * np.eye(3)[labels][:, None]
run = ee.from_logits(logits, labels, macs=[1e6, 2e6])
print(run.simulate(run.calibrate(drop=0.02)).samples)
try:
    ee.EarlyExitRunner(None, None)
except ee.InputError as error:
    print(error)
"""
    assert python(code).splitlines() == [
        "90",
        "EarlyExitRunner: needs torch, which is not installed; pip install torch",
    ]


def test_the_backend_of_a_notebook_is_kept():
    code = """
import matplotlib
matplotlib.use("svg")
import early_exit.figures.sweep
print(matplotlib.get_backend())
"""
    assert python(code) == "svg"


def test_lists_of_names_agree():
    assert sorted(names.PUBLIC) == sorted(public.__all__)
    assert {*names.PUBLIC} < {*dir(ee)}
    assert set(ee.__all__) == {"__version__", *names.PUBLIC}
    for name in names.PUBLIC:
        assert getattr(ee, name) is getattr(public, name)


def test_no_name_hides_a_wing():
    wings = {module.name for module in iter_modules(ee.__path__)}
    assert not wings & {*names.PUBLIC}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        ee.lod  # noqa: B018
    assert not hasattr(ee, "lod")


def test_star_imports_the_public_names():
    names_of_star = "names = {}; exec('from early_exit import *', names); print('load' in names)"
    assert python(names_of_star) == "True"


MODULES = sorted(module.name for module in iter_modules(api.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name, run):
    module = import_module(f"early_exit.api.{name}")
    found = doctest.testmod(module, extraglobs={"ee": ee, "run": run})
    assert found.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = {m for m in MODULES if any(t.examples for t in finder.find(_module(m)))}
    assert {"arrays", "run", "runner"} <= found


def _module(name):
    return import_module(f"early_exit.api.{name}")


def test_public_callables_are_documented():
    for name in names.PUBLIC:
        value = getattr(ee, name)
        assert value.__doc__, name
        if not isinstance(value, type):
            continue
        for attribute, own in vars(value).items():
            if not attribute.startswith("_") and callable(own):
                assert own.__doc__, f"{name}.{attribute}"
