"""A copy of the project to run, and a finished run of a small experiment to start from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from bare import bare_environment, declared
from early_exit.io.files import alone

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "config.yaml", "rules", "scripts", "profiles", "envs", "examples", "workflow")
# What must not come out of a run.
PRIVATE = {"SOME_TOKEN": "correct-horse-battery-staple"} | dict.fromkeys(
    ("USER", "LOGNAME", "USERNAME"), "somebody-by-name"
)
# The digits, trained for so little that a run takes seconds.
SMALL = {
    "dataset": {"name": "digits", "calibration": 200, "test": 200},
    "training": {"epochs": 1, "batch_size": 128, "learning_rate": 0.005},
    # One measure: several take longer, and have a test of their own.
    "measure": "entropy",
    "cost": {"repeats": 3},
    "evaluation": {"timed_batches": 2},
    "calibration": {"methods": ["percentile"], "targets": [0.3, 0.6, 0.9]},
    "selection": {"criterion": "most_accurate", "latency_budget_ms": 1000.0},
    "frontier": {"methods": ["uniform", "certified"], "budgets": 4},
    "study": {
        "splits": 2,
        "measures": ["margin"],
        "methods": ["uniform", "exact_grid", "certified"],
        "targets": [{"macs_share": 0.5}, {"drop": 0.05}],
        "sizes": [200, 400],
    },
    "speed": {
        "batch_sizes": [1, 16],
        "images": 32,
        "policies": 4,
        "precisions": ["fp32"],
        "plain": "branchynet",
    },
    "latency": {"samples": 12, "policies": 1},
    "drift": {"images": 120, "labels": [30], "draws": 3},
    "baselines": {"exits": [1, 3], "method": "uniform", "budgets": 3},
}
# What a plain run leaves out.
EXTRAS = (
    *(
        "study",
        "scalability",
        "speed",
        "latency",
        "runtimes",
        "drift",
        "baselines",
        "ship",
        "export",
    ),
    "quantize",
)


@dataclass
class Project:
    """A folder with the project in it, and what snakemake says of it."""

    folder: Path
    python: str = sys.executable

    def run(self, *arguments: str, check: bool = False) -> subprocess.CompletedProcess:
        """Run snakemake there, as a user would."""
        command = [self.python, "-m", "snakemake", *arguments]
        environment = os.environ | {"PYTHONWARNINGS": "ignore"} | PRIVATE
        finished = subprocess.run(
            command, cwd=self.folder, text=True, capture_output=True, env=environment, timeout=900
        )
        assert not check or finished.returncode == 0, finished.stdout + finished.stderr
        return finished

    def planned(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule a dry run plans."""
        shown = self.run("-n", *arguments, check=True)
        text = shown.stdout + shown.stderr
        if "Nothing to be done" in text:
            return {}
        table = re.search(r"^job +count\n-+ +-+\n(.*?)^total", text, re.DOTALL | re.MULTILINE)
        return {name: int(count) for name, count in map(str.split, table[1].splitlines())}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that must be there."""
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new))

    def configure(self, **config) -> None:
        """Write config.yaml."""
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def path(self, name: str) -> Path:
        """A file of the experiment `small`."""
        return self.folder / "results/small" / name


def copy_of_project(folder: Path) -> Project:
    """The project's tracked parts, copied; caches left behind."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignore = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(ROOT / part, folder / part, ignore=ignore)
        else:
            shutil.copy(ROOT / part, folder / part)
    project = Project(folder)
    project.configure(run="small", experiments={"small": SMALL})
    return project


@pytest.fixture
def project(tmp_path) -> Project:
    """A fresh copy of the project, with the experiment `small`."""
    return copy_of_project(tmp_path)


@pytest.fixture(scope="session")
def core(tmp_path_factory) -> Path:
    """The Python of an environment with the extra `workflow` alone: without torch."""
    return bare_environment(tmp_path_factory.mktemp("core"), declared("workflow"))


def made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Project:
    """A folder that the first worker makes and all workers of pytest-xdist read."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, complete = shared / name, shared / f"{name}.complete"
    with alone(shared / f"{name}.lock"):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            complete.touch()
    return Project(folder)


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory) -> Project:
    """A finished run of `small`. Not to be changed: take `finished`."""

    def make(folder: Path) -> None:
        copy_of_project(folder).run("--cores", "2", check=True)

    return made_once(tmp_path_factory, "finished_once", make)


@pytest.fixture
def finished(finished_once, tmp_path) -> Project:
    """A copy of a finished run, times and all."""
    folder = tmp_path / "finished"
    shutil.copytree(finished_once.folder, folder, symlinks=True)
    return Project(folder)


@pytest.fixture(scope="session")
def extras_once(finished_once, tmp_path_factory) -> Project:
    """A finished run with all that a plain one leaves out. Not to be changed."""

    def make(folder: Path) -> None:
        shutil.copytree(finished_once.folder, folder, symlinks=True, dirs_exist_ok=True)
        Project(folder).run("--cores", "2", *EXTRAS, check=True)

    return made_once(tmp_path_factory, "extras_once", make)


@pytest.fixture(scope="session")
def replicated_once(tmp_path_factory) -> Project:
    """Two finished replicates of `small`, gathered. Not to be changed."""

    def make(folder: Path) -> None:
        project = copy_of_project(folder)
        project.configure(run="small", experiments={"small": SMALL | {"replicates": 2}})
        project.run("--cores", "2", "replicates", check=True)

    return made_once(tmp_path_factory, "replicated_once", make)


@pytest.fixture(scope="session")
def published(cifar10_dir, tmp_path_factory) -> Project:
    """A finished run of the experiment `published`, as config.yaml has it. Not to be changed."""

    def make(folder: Path) -> None:
        project = copy_of_project(folder)
        project.configure(**yaml.safe_load((ROOT / "config.yaml").read_text()))
        own = ("--config", "run=published", f"data_dir={cifar10_dir}")
        project.run("--cores", "4", *own, check=True)

    return made_once(tmp_path_factory, "published", make)
