"""Runs for the tests of the public API."""

from __future__ import annotations

import pytest

import early_exit as ee
from api_runs import sample, write_run


@pytest.fixture(scope="session")
def run() -> ee.Run:
    """The run of the examples in docstrings."""
    macs = [2e6, 6e6, 15e6]
    return ee.from_logits(*sample(500, seed=0), macs=macs, test=sample(300, seed=1))


@pytest.fixture
def folder(tmp_path):
    """The results folder of a workflow run on the same logits."""
    return write_run(tmp_path / "results" / "small")
