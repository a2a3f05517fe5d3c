"""The wheel in a fresh environment: work on records without torch, networks with it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from bare import declared, link_packages

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
TINY = {
    "tiny": {
        "dataset": {"name": "digits", "calibration": 200, "test": 200},
        "training": {"epochs": 1, "batch_size": 128, "learning_rate": 0.005},
        "cost": {"repeats": 3},
        "calibration": {"methods": ["percentile"], "targets": [0.3, 0.6]},
        "selection": {"criterion": "most_accurate", "latency_budget_ms": 1000.0},
    }
}
# Nothing of the clone may be found in it.
CLEAN = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(UV is None, reason="uv is not installed (the extra `dev`)"),
]


def uv(*arguments) -> None:
    """Run uv; skip where it reaches no package index."""
    command = [UV, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, env=CLEAN)
    if done.returncode and "Failed to fetch" in done.stderr:
        pytest.skip(f"no package index can be reached: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr


def made(folder: Path) -> Path:
    """A new environment's Python."""
    uv("venv", "--quiet", "--python", sys.executable, folder)
    return folder / "bin/python"


def run(python: Path, *arguments, cwd: Path) -> subprocess.CompletedProcess:
    """Run something of an environment, elsewhere than in the clone."""
    command = [str(python.parent / arguments[0]), *map(str, arguments[1:])]
    done = subprocess.run(command, cwd=cwd, text=True, capture_output=True, env=CLEAN)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with the wheel and the source distribution; the wheel is built from the latter."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--quiet", "--build-constraints", "constraints.txt", "--out-dir", folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def without_torch(wheel, tmp_path_factory) -> Path:
    """The Python of an environment with the wheel and what it depends on, from the index."""
    python = made(tmp_path_factory.mktemp("env") / "env")
    install = ("pip", "install", "--quiet", "--python", python, "-c", "constraints.txt")
    uv(*install, wheel)
    return python


@pytest.fixture(scope="module")
def with_torch(wheel, tmp_path_factory) -> Path:
    """The wheel beside what the extra `torch` names, which is linked and not downloaded again."""
    python = made(tmp_path_factory.mktemp("torch") / "env")
    uv("pip", "install", "--quiet", "--no-deps", "--python", python, wheel)
    link_packages(python.parents[1], declared("torch"))
    return python


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The results of an experiment that the workflow ran, as far as its chosen policy."""
    folder = tmp_path_factory.mktemp("workflow")
    for name in ("rules", "scripts", "profiles", "envs"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "config.yaml").write_text(yaml.safe_dump({"run": "tiny", "experiments": TINY}))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "select"]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return folder / "results/tiny"


def test_both_distributions_contain_the_data_files(built):
    (source,) = built.glob("*.tar.gz")
    (wheel,) = built.glob("*.whl")
    data = ("cli/templates/folder.yaml", "config/schema.yaml", "export/readme_template.md")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"early_exit/{name}" for name in (*data, "py.typed")} <= names
    # The workflow's scripts (`data`, `cost`) are not offered to other programs.
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "early_exit",
        "dynamic_network_inference",
    }
    with tarfile.open(source) as files:
        inside = {name.partition("/")[2] for name in files.getnames()}
    assert {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        *(f"scripts/early_exit/{n}" for n in data),
    } <= inside


def test_without_torch(without_torch, tmp_path):
    code = "import early_exit, sys; print(early_exit.__version__, early_exit.__file__)"
    version, file = run(without_torch, "python", "-c", code, cwd=tmp_path).stdout.split()
    assert str(without_torch.parents[1]) in file
    shown = run(without_torch, "early-exit", "--version", cwd=tmp_path).stdout
    assert shown == f"early-exit {version}\n"
    tried = "from importlib.util import find_spec; print(find_spec('torch'))"
    assert run(without_torch, "python", "-c", tried, cwd=tmp_path).stdout == "None\n"


def test_modules_without_torch_are_imported(without_torch, tmp_path):
    code = """
import importlib, pkgutil, early_exit
wings = "config io statistics records policy calibration analysis figures"
for wing in wings.split():
    package = importlib.import_module(f"early_exit.{wing}")
    for module in pkgutil.walk_packages(package.__path__, f"early_exit.{wing}."):
        # Downloads and images want `requests` and `pillow`, of the extra `torch`.
        if module.name not in ("early_exit.io.mirror", "early_exit.io.images"):
            importlib.import_module(module.name)
            print(module.name)
"""
    shown = run(without_torch, "python", "-W", "error", "-c", code, cwd=tmp_path).stdout
    assert "early_exit.figures.sweep" in shown.split()


def test_records_are_checked_without_torch(without_torch, results, tmp_path):
    policy, records = results / "selection/policy.json", results / "exits/test.parquet"
    if not records.exists():
        records = results / "exits/calibration.parquet"
    command = ("early-exit", "check", "--json", "--policy", policy, "--records", records)
    shown = run(without_torch, *command, cwd=tmp_path).stdout
    assert len(json.loads(shown)["tests"]) > 0


def test_predict_without_torch_names_the_extra(without_torch, results, tmp_path):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    policy = results / "selection/policy.json"
    command = [without_torch.parent / "early-exit", "predict", "--policy", policy, "a.png"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, env=CLEAN)
    assert done.returncode == 2
    assert "early-exit: needs the package" in done.stderr
    assert "pip install '.[torch]'" in done.stderr


def test_predict_with_torch(with_torch, results, tmp_path):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    policy = results / "selection/policy.json"
    command = ("early-exit", "predict", "--json", "--policy", policy, "a.png")
    (line,) = run(with_torch, *command, cwd=tmp_path).stdout.splitlines()
    assert 1 <= json.loads(line)["exit"] <= 6


def test_the_example_of_the_readme_runs_without_torch(without_torch, tmp_path):
    (block,) = re.findall(r"```python\n(import early_exit as ee.*?)```", README, re.DOTALL)
    made = """
import numpy as np
rng, N = np.random.default_rng(0), 500
labels, logits = rng.integers(0, 10, N), rng.normal(size=(N, 3, 10))
for k, gap in enumerate((1.5, 2.5, 4)):
    logits[np.arange(N), k, labels] += gap
test_logits, test_labels = logits[250:], labels[250:]
logits, labels = logits[:250], labels[:250]
"""
    shown = run(without_torch, "python", "-c", made + block, cwd=tmp_path).stdout
    assert "accuracy" in shown
    assert "95 % interval" in shown
    assert (tmp_path / "policy.json").exists()
