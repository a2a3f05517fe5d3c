"""Shared fixtures: thread limits, fault counts and the folder of CIFAR-10."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

# Tests read Snakemake's own output; those of the brief one set this themselves.
os.environ.setdefault("EARLY_EXIT_BRIEF", "0")
# The tests run on small data; more threads only slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# Beside other work, threads that spin while they wait slow everything down.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# The time of an example depends on the machine's load, so it has no limit.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


COUNTED = Counter()


@pytest.fixture(autouse=True)
def _no_modules_of_other_tests(tmp_path_factory) -> Iterator[None]:
    """Forget what tests import from their temporary folders: others have modules of such names."""
    folder = str(tmp_path_factory.getbasetemp().resolve())
    _forget_modules(folder)
    yield
    _forget_modules(folder)


def _forget_modules(folder: str) -> None:
    for name, module in list(sys.modules.items()):
        file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        if file and file.startswith(folder):
            del sys.modules[name]


@pytest.fixture(scope="session")
def tally() -> Counter:
    """Faults that were injected and survived, by kind; the table of docs/robustness.md."""
    return COUNTED


def pytest_sessionfinish(session) -> None:
    """Each worker passes its counts to the main process."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["counted"] = dict(COUNTED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Add up the counts of the workers."""
    COUNTED.update(getattr(node, "workeroutput", {}).get("counted", {}))


def pytest_terminal_summary(terminalreporter) -> None:
    if COUNTED:
        terminalreporter.section("faults")
        for kind, number in sorted(COUNTED.items()):
            terminalreporter.line(f"{kind}: {number}")


@pytest.fixture(scope="session")
def cifar10_dir() -> Path:
    """A complete `data_dir`, from the environment variable CIFAR10_DIR."""
    given = os.environ.get("CIFAR10_DIR")
    if not given:
        pytest.skip("CIFAR10_DIR is not set to a folder with cifar-10-batches-py and weights")
    folder = Path(given)
    assert (folder / "cifar-10-batches-py").is_dir(), f"CIFAR10_DIR={given} has no CIFAR-10"
    return folder
