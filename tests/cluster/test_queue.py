"""The workflow through a real Slurm queue, and what may go wrong there (`make test-cluster`).

A one-node Slurm is started for these tests and stopped after them. First the whole experiment runs
through the queue while the same runs without it; then the faults run side by side, since a queue is
mostly waiting.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from cluster.one_node import OneNode, why_not
from workflow.conftest import SMALL, Project, copy_of_project

pytestmark = pytest.mark.cluster

# The profile as users have it, but for what this one-node Slurm has not (a database of jobs, other
# machines), and asked more often.
SANDBOX = [
    *("--profile", "profiles/slurm"),
    *("--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "4"),
    *("--latency-wait", "5"),
]
EXPERIMENT = SMALL | {"training": SMALL["training"] | {"threads": 2}}
RECORDS = "results/small/exits/test.parquet"
NETWORK = "results/small/network/network.safetensors"
# Far more than it takes: a queue that lost a job shall fail, not hang.
MOST_SECONDS = 900
# What differs from run to run, by the names of columns and keys: times, and what is made of them.
TIMED = re.compile(r"(^|_)ms(_|$)|seconds|speedup|doubt|costs|checksum|rounds")


@dataclass
class Queued:
    """A call of snakemake that went to the queue: what came of it, and its Slurm jobs' states."""

    returncode: int
    text: str
    states: list[str]


@dataclass
class Workplace:
    """A copy of the project whose jobs go to the cluster."""

    project: Project
    cluster: OneNode

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen]:
        """A snakemake that runs; it is ended, and its jobs with it, whatever happens."""
        command = [sys.executable, "-m", "snakemake", *arguments[:1], *SANDBOX, *arguments[1:]]
        environment = self.cluster.environment | {"PYTHONWARNINGS": "ignore"}
        with open(self.project.folder / "said.txt", "w") as said:
            process = subprocess.Popen(
                command, cwd=self.project.folder, env=environment, stdout=said, stderr=said
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                # An interrupt cancels the jobs too.
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                process.kill()
                process.wait()

    def run(self, *arguments: str) -> Queued:
        """Run snakemake through the queue, from start to end; a target goes first."""
        with self.started(*arguments) as process:
            return self.ended(process)

    def ended(self, process: subprocess.Popen) -> Queued:
        """Wait for a snakemake's end."""
        try:
            process.wait(MOST_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"not done after {MOST_SECONDS} s:\n{self.said()}")
        name = self.run_id()
        jobs = [job for job in self.cluster.finished() if job["Name"] == name]
        return Queued(process.returncode, self.said(), [job["JobState"] for job in jobs])

    def said(self) -> str:
        """What the last snakemake has said so far."""
        return (self.project.folder / "said.txt").read_text()

    def run_id(self) -> str | None:
        """The name that all Slurm jobs of the last snakemake have."""
        found = re.search(r"SLURM run ID: (\S+)", self.said())
        return found and found[1]

    def wait_for_script(self, script: str) -> None:
        """Wait until a job has begun with a script; importing torch takes it seconds."""
        scripts = self.project.folder / ".snakemake/scripts"
        OneNode.wait_for(lambda: any(scripts.glob(f"*{script}.py")), 120)

    @contextlib.contextmanager
    def held(self, script: str) -> Iterator[None]:
        """Wait for a script and stop it: its job stays until the block ends."""
        script = re.compile(
            rf"{re.escape(str(self.project.folder))}/\.snakemake/scripts/.*{script}\.py"
        )

        def running() -> list[int]:
            found = []
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    if script.search(
                        file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    ):
                        found.append(int(file.parent.name))
            return found

        OneNode.wait_for(running, 120)
        stopped = running()
        for process in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[OneNode]:
    """A Slurm that runs as long as the tests of this file."""
    reason = why_not()
    if reason is None and importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        reason = "snakemake-executor-plugin-slurm is not installed (the extra `cluster`)"
    if reason:
        pytest.skip(reason)
    one_node = OneNode(tmp_path_factory.mktemp("slurm") / "state")
    try:
        one_node.start()
        yield one_node
    finally:
        one_node.stop()


@pytest.fixture(scope="module")
def both(cluster, tmp_path_factory) -> tuple[Project, Workplace, Queued]:
    """The same experiment run here and, meanwhile, through the queue in shards."""
    local, queued = (copy_of_project(tmp_path_factory.mktemp(name)) for name in ("local", "queued"))
    local.configure(run="small", experiments={"small": EXPERIMENT})
    sharded = EXPERIMENT | {"exits": {"shards": 2}}
    queued.configure(run="small", experiments={"small": sharded})
    there = Workplace(queued, cluster)
    with ThreadPoolExecutor() as pool:
        through_the_queue = pool.submit(there.run, "all")
        local.run("--cores", "2", check=True)
        return local, there, through_the_queue.result()


@pytest.fixture(scope="module")
def faults(both, cluster, tmp_path_factory) -> Iterator[dict[str, Future]]:
    """All faults, each in a copy of the finished run, side by side."""
    local = both[0]

    def begin(fault: Callable) -> Future:
        folder = tmp_path_factory.mktemp(fault.__name__) / "project"
        shutil.copytree(local.folder, folder, symlinks=True)
        return pool.submit(fault, Workplace(Project(folder), cluster))

    with ThreadPoolExecutor() as pool:
        yield {fault.__name__: begin(fault) for fault in FAULTS}


def test_every_step_went_through_the_queue(both):
    _, there, queued = both
    assert queued.returncode == 0, queued.text
    # Data, network, two splits of two shards and their joining, cost, choice, evaluation, results,
    # learning curve, temperatures, reliability, samples, the frontier's two methods, frontier,
    # explorer.
    assert queued.states == ["COMPLETED"] * 19
    assert "Nothing to be done" in there.project.run("-n", check=True).stdout


def test_results_equal_those_of_a_local_run(both):
    local, there, _ = both
    here, queued = (results(p.folder / "results") for p in (local, there.project))
    assert here.keys() == queued.keys()
    assert {name for name in here if here[name] != queued[name]} == set()


def test_a_comparison_of_results_sees_a_difference(both, tmp_path):
    """Lest the test above compares nothing."""
    here = results(both[0].folder / "results")
    shutil.copytree(both[0].folder / "results", tmp_path / "results")
    for name in ("small/summary.json", "small/sweep/test.csv", "small/exits/test.parquet"):
        path = tmp_path / "results" / name
        path.write_bytes(path.read_bytes().replace(b"1", b"2"))
        assert results(tmp_path / "results")[name] != here[name]


def test_a_cancelled_job_is_reported_and_rerun(faults, both):
    cancelled, left, again, made = faults["cancelled"].result()
    assert cancelled.returncode == 1
    assert cancelled.states == ["CANCELLED"]
    assert "failed, SLURM status is: 'CANCELLED'" in cancelled.text
    assert left is False
    assert (again.returncode, again.states) == (0, ["COMPLETED"]), again.text
    assert made == (both[0].folder / RECORDS).read_bytes()


def test_a_job_over_its_time_is_reported_and_rerun_with_more(faults, both):
    late, left, again, made = faults["over_time"].result()
    assert late.returncode == 1
    assert late.states == ["TIMEOUT"]
    assert "failed, SLURM status is: 'TIMEOUT'" in late.text
    assert left is False
    assert (again.returncode, again.states) == (0, ["COMPLETED"]), again.text
    assert made == (both[0].folder / NETWORK).read_bytes()


def test_a_job_over_its_memory_succeeds_at_the_second_attempt(faults, both):
    queued, log, made = faults["over_memory"].result()
    assert queued.returncode == 0, queued.text
    assert queued.states == ["FAILED", "COMPLETED"]
    assert "exceeded memory limit" in log
    assert made == (both[0].folder / RECORDS).read_bytes()


def test_a_killed_controller_loses_nothing(faults, both):
    locked, again, made, unchanged = faults["controller_killed"].result()
    assert locked.returncode == 1
    assert "--unlock" in locked.text
    assert (again.returncode, again.states) == (0, ["COMPLETED"]), again.text
    assert made == (both[0].folder / RECORDS).read_bytes()
    assert unchanged


def cancelled(place: Workplace):
    """Somebody cancels a job that runs."""
    (place.project.folder / RECORDS).unlink()
    with place.started(RECORDS, "--retries", "0") as process:
        place.wait_for_script("exits")
        place.cluster.cancel("--name", place.run_id())
        first = place.ended(process)
    left = (place.project.folder / RECORDS).exists()
    again = place.run(RECORDS)
    return first, left, again, (place.project.folder / RECORDS).read_bytes()


def over_time(place: Workplace):
    """A training that takes longer than the minute that it asked for."""
    training = EXPERIMENT["training"] | {"epochs": 100_000, "threads": 1}
    place.project.configure(run="small", experiments={"small": EXPERIMENT | {"training": training}})
    asked = ["train_network:runtime=1", "train_network:mem_mb=4000"]
    first = place.run(NETWORK, "--retries", "0", "--set-resources", *asked)
    left = (place.project.folder / NETWORK).exists()
    place.project.configure(run="small", experiments={"small": EXPERIMENT})
    again = place.run(NETWORK)
    return first, left, again, (place.project.folder / NETWORK).read_bytes()


def over_memory(place: Workplace):
    """A job that asks for too little memory, and for more at its second attempt."""
    (place.project.folder / RECORDS).unlink()
    queued = place.run(RECORDS, "--set-resources", "record_exits:mem_mb=350*attempt**4")
    # Snakemake says FAILED, and names the log that says why.
    log = Path(re.search(r"log: .*, (\S+) \(check", queued.text)[1]).read_text()
    return queued, log, (place.project.folder / RECORDS).read_bytes()


def controller_killed(place: Workplace):
    """The snakemake that waits for the jobs is killed; its jobs go on. As docs/cluster.md says."""
    (place.project.folder / RECORDS).unlink()
    before = results(place.project.folder / "results")
    with place.started(RECORDS) as process, place.held("exits"):
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        name = place.run_id()
        locked = place.run(RECORDS)
        place.cluster.cancel("--name", name)
    place.project.run("--unlock", check=True)
    again = place.run(RECORDS)
    after = results(place.project.folder / "results")
    made = (place.project.folder / RECORDS).read_bytes()
    return locked, again, made, before == {k: v for k, v in after.items() if k in before}


FAULTS = (over_time, over_memory, controller_killed, cancelled)


def results(folder: Path) -> dict[str, object]:
    """What a run made, without what is measured in time; figures and pages only by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = {str(path.relative_to(folder)): path for path in files}
    return {
        name: content(path)
        for name, path in found.items()
        if not {"logs", "benchmarks"} & set(path.parts)
    }


def content(path: Path) -> object:
    if path.suffix == ".csv":
        table = pd.read_csv(path, comment="#")
        return table[[name for name in table if not TIMED.search(name)]].to_csv()
    if path.suffix == ".json":
        return untimed(json.loads(path.read_text()))
    return (
        None
        if path.parent.name in ("figures", "tables") or path.suffix == ".html"
        else path.read_bytes()
    )


def untimed(value: object) -> object:
    if isinstance(value, dict):
        return {key: untimed(each) for key, each in value.items() if not TIMED.search(key)}
    return value
