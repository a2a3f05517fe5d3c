"""Killed with -9 in the middle of every stage, one by one, a run recovers by itself."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from jobs import planned_jobs
from lasting import lasting

KILLED = Path(__file__).with_name("killed")


def run(project, listed: Path) -> subprocess.CompletedProcess:
    """Snakemake and its jobs in a process group of their own, which may be killed."""
    environment = os.environ | {
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": str(KILLED),
        "KILLED_BEFORE": str(listed),
    }
    return subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2"],
        cwd=project.folder,
        text=True,
        capture_output=True,
        env=environment,
        timeout=900,
        start_new_session=True,
    )


@pytest.mark.faults
def test_killed_in_every_stage_it_recovers_and_repeats_nothing(
    project, finished_once, tmp_path_factory, tally
):
    jobs = planned_jobs(project.folder)
    each = {job.rule: str(job.output[0]) for job in jobs}
    listed = tmp_path_factory.mktemp("killed") / "listed"
    listed.write_text("\n".join(each.values()))
    finished = Counter()
    kills = 0
    while True:
        done = run(project, listed)
        finished.update(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", done.stderr))
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
        kills += 1
        assert len(listed.read_text().split()) == len(each) - kills
    assert kills == len(each) >= 17
    # No job was done again that was finished before a kill.
    assert not finished - Counter(job.rule for job in jobs) - Counter({"all": 1}), finished
    made = project.folder / "results"
    assert lasting(made) == lasting(finished_once.folder / "results")
    assert not list(made.rglob(".*"))
    assert project.planned() == {}
    tally["kills survived"] += kills
