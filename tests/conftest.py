"""Where the real CIFAR-10 is, for the tests that need it."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

# The tests run on small data; more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# Beside other work, threads that spin while they wait slow everything down.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# How long an example takes says how busy the machine is; it is no fault.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


COUNTED = Counter()


@pytest.fixture(scope="session")
def tally() -> Counter:
    """Faults that were injected and survived, by kind; the table of docs/reliability.md."""
    return COUNTED


def pytest_sessionfinish(session) -> None:
    """With several workers, each hands over what it counted."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["counted"] = dict(COUNTED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Add up what the workers counted."""
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
