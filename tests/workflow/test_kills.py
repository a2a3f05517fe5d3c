"""Killed with -9 in the middle of every step, one by one, a run recovers by itself."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import yaml
from jobs import planned_jobs
from lasting import lasting

from conftest import EXTRAS, SMALL, Project

pytestmark = pytest.mark.thorough

KILLED = Path(__file__).with_name("killed")
KILL_EVERY = int(os.environ.get("KILL_EVERY", "1"))


def run(project, listed: Path, *targets: str) -> subprocess.CompletedProcess:
    """Snakemake and its jobs in a process group of their own, which may be killed."""
    environment = os.environ | {
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": str(KILLED),
        "KILLED_BEFORE": str(listed),
    }
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *targets],
        cwd=project.folder,
        text=True,
        capture_output=True,
        env=environment,
        timeout=900,
        start_new_session=True,
    )


def killed_in_each(project, listed: Path, *targets: str) -> int:
    """Kill the run in every step on the way to the targets, one by one; the number of kills.

    With KILL_EVERY=2 in every second one. No job is done again that was finished before a kill.
    """
    jobs = planned_jobs(project.folder, *targets)
    jobs = [job for job in jobs if not (project.folder / job.output[0]).exists()]
    each = {job.rule: str(job.output[0]) for job in jobs}
    each = dict(list(each.items())[::KILL_EVERY])
    listed.write_text("\n".join(each.values()))
    finished = Counter()
    kills = 0
    while True:
        done = run(project, listed, *targets)
        finished.update(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", done.stderr))
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
        kills += 1
        assert len(listed.read_text().split()) == len(each) - kills
    assert kills == len(each)
    # A page that is there is made again once its table is.
    again = finished - Counter([*(job.rule for job in jobs), "show_table"])
    assert again.keys() <= {"all", *targets}, again
    return kills


@pytest.mark.faults
def test_killed_in_every_step_it_recovers_and_repeats_nothing(
    project, finished_once, tmp_path_factory, tally
):
    kills = killed_in_each(project, tmp_path_factory.mktemp("killed") / "listed")
    assert kills >= 17 // KILL_EVERY
    made = project.folder / "results"
    assert lasting(made) == lasting(finished_once.folder / "results")
    assert not list(made.rglob(".*"))
    assert project.planned() == {}
    tally["kills survived"] += kills


@pytest.mark.faults
def test_killed_in_every_step_that_a_plain_run_omits(
    finished, extras_once, tmp_path_factory, tally
):
    kills = killed_in_each(finished, tmp_path_factory.mktemp("killed") / "listed", *EXTRAS)
    assert kills >= 10 // KILL_EVERY
    for folder in ("results", "checkpoints"):
        assert lasting(finished.folder / folder) == lasting(extras_once.folder / folder)
    tally["kills survived"] += kills


@pytest.mark.faults
def test_killed_while_shards_are_recorded_and_swept_of_a_network_that_is_imported(
    finished, tmp_path_factory, tally
):
    shutil.copy(finished.path("network/network.safetensors"), finished.folder / "own.safetensors")
    network = {"name": "branchynet", "checkpoint": "own.safetensors"}
    shards = {"exits": {"shards": 2}, "sweep": {"shards": 2}}
    finished.configure(run="other", experiments={"other": SMALL | {"network": network} | shards})
    kills = killed_in_each(finished, tmp_path_factory.mktemp("killed") / "listed", "sweep")
    assert kills == -(-7 // KILL_EVERY)
    for name in ("exits/calibration.parquet", "exits/test.parquet", "sweep/test.csv"):
        read = partial(pd.read_csv, comment="#") if name.endswith(".csv") else pd.read_parquet
        found, expected = (
            read(finished.folder / "results" / experiment / name)
            for experiment in ("other", "small")
        )
        timed = [column for column in ("ms_per_sample",) if column in found]
        pd.testing.assert_frame_equal(found.drop(columns=timed), expected.drop(columns=timed))
    tally["kills survived"] += kills


@pytest.mark.faults
def test_killed_in_every_step_of_external_records(finished, tmp_path_factory, tally):
    given = {split: f"results/small/exits/{split}.parquet" for split in ("calibration", "test")}
    records = given | {"costs": "results/small/cost/cost.csv"}
    kept = {key: SMALL[key] for key in ("calibration", "selection", "measure")}
    finished.configure(run="elsewhere", experiments={"elsewhere": kept | {"records": records}})
    kills = killed_in_each(finished, tmp_path_factory.mktemp("killed") / "listed", "evaluate")
    assert kills == -(-7 // KILL_EVERY)
    points = [
        pd.read_csv(
            finished.folder / f"results/{name}/evaluation/operating_points.csv", comment="#"
        )
        for name in ("elsewhere", "small")
    ]
    pd.testing.assert_frame_equal(*(table for table in points))
    tally["kills survived"] += kills


@pytest.mark.faults
def test_killed_while_replicates_are_gathered(replicated_once, tmp_path, tally):
    project = Project(shutil.copytree(replicated_once.folder, tmp_path / "copy", symlinks=True))
    table = project.path("replicates.csv")
    whole = table.read_bytes()
    table.unlink()
    kills = killed_in_each(project, tmp_path / "listed", "replicates")
    assert kills == 1
    assert table.read_bytes() == whole
    tally["kills survived"] += kills


@pytest.mark.faults
def test_killed_while_the_published_figures_are_reproduced(
    published, cifar10_dir, tmp_path, tmp_path_factory, tally
):
    folder = shutil.copytree(published.folder, tmp_path / "published", symlinks=True)
    project = Project(folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    project.configure(**config | {"run": "published", "data_dir": str(cifar10_dir)})
    table = folder / "results/published/reproduction.csv"
    whole = table.read_bytes()
    table.unlink()
    for path in (folder / "results/published/figures").glob("reproduction.*"):
        path.unlink()
    kills = killed_in_each(project, tmp_path_factory.mktemp("killed") / "listed", "reproduce")
    assert kills == -(-2 // KILL_EVERY)
    assert table.read_bytes() == whole
    tally["kills survived"] += kills
