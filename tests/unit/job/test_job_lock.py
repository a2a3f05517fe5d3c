"""The lock of a killed run is removed; that of a running one, or of a cluster run, stays."""

import os

import pytest

from job import lock


@pytest.fixture
def process(tmp_path, monkeypatch):
    """What stands for a process: its locks go when it ends."""
    monkeypatch.chdir(tmp_path)
    started = []

    def begin(remote=None, clear=True):
        held = []
        started.append(held)
        monkeypatch.setattr(lock, "_held", held)
        lock.join_and_clear() if clear else lock.join()
        if remote is not None:
            lock.started(remote)
            locks = tmp_path / ".snakemake/locks"
            locks.mkdir(exist_ok=True)
            (locks / "0.output.lock").write_text("results/x")
        return lambda: end(held)

    def end(held):
        while held:
            os.close(held.pop())

    yield begin
    for held in started:
        end(held)


@pytest.fixture
def locked(tmp_path):
    return lambda: (tmp_path / ".snakemake/locks").exists()


def test_the_lock_of_a_killed_run_is_cleared(process, locked):
    kill = process(remote=False)
    kill()
    assert locked()
    process()
    assert not locked()


def test_the_lock_of_a_living_run_stays(process, locked):
    process(remote=False)
    process()
    assert locked()


def test_the_lock_stays_while_a_job_of_the_killed_run_lives(process, locked):
    kill = process(remote=False)
    end = process(clear=False)
    kill()
    process()()
    assert locked()
    end()
    process()
    assert not locked()


def test_the_lock_of_a_run_on_a_cluster_stays(process, locked):
    process(remote=True)()
    process()
    assert locked()


def test_the_note_of_a_cluster_stays_while_its_run_lives(process, locked):
    on_cluster = process(remote=True)
    here = process(remote=False)
    on_cluster()
    here()
    process()
    assert locked()


def test_a_job_without_a_run_leaves_nothing(process, tmp_path):
    process(clear=False)
    assert not list(tmp_path.iterdir())
