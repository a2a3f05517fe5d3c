"""A missing file of a finished run is made again by the same command."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from asked import asked_and_made
from damage import misplaced
from lasting import lasting
from test_bad_input import fails
from test_kills import KILL_EVERY, KILLED, run

from conftest import EXTRAS, SMALL, Project

pytestmark = pytest.mark.thorough

# With KILL_EVERY=3 every third of the cases that take a run or more each.
EVERY = slice(None, None, KILL_EVERY)
PLAIN = (
    *("all", "data", "network", "exits", "cost", "sweep", "calibrate", "select", "evaluate"),
    *("summarise", "figures", "explore", "frontier", "reliability", "temperature", "reproduce"),
)
WITHOUT_NETWORK = set(PLAIN) - {"network"} | {"study", "scalability"}
START = "results/small/network/network.safetensors"
SPLITS = {split: f"results/small/exits/{split}.parquet" for split in ("calibration", "test")}
# Kinds of experiments, and the targets that they have.
KINDS = {
    "trained": (SMALL, (*PLAIN, *EXTRAS)),
    "sharded and scaled": (
        SMALL
        | {"exits": {"shards": 2}, "sweep": {"shards": 2}}
        | {"temperature_scaling": True, "measure": "margin", "reproduction": True},
        ("all", "sweep", "select", "scalability", "baselines"),
    ),
    "with replicates": (SMALL | {"replicates": 2}, ("replicates",)),
    "of another's network": (
        SMALL | {"network": {"name": "branchynet", "checkpoint": START}},
        (*PLAIN, *(target for target in EXTRAS if target not in ("baselines", "ship"))),
    ),
    "begun with another's network": (
        SMALL | {"training": SMALL["training"] | {"start_from": START, "teacher": START}},
        ("network", "baselines"),
    ),
    "of records": (
        {key: SMALL[key] for key in ("calibration", "selection", "frontier", "study")}
        | {"records": SPLITS | {"costs": "results/small/cost/cost.csv"}},
        tuple(sorted(WITHOUT_NETWORK)),
    ),
    "with fitted criteria": (
        SMALL | {"measure": ["gate", "ensemble"], "temperature_scaling": True},
        ("all", "criteria", "sweep", "select", "scalability", "baselines"),
    ),
    "in int8": (
        SMALL | {"inference": {"backend": "openvino", "precision": "int8"}},
        (*PLAIN, "speed", "runtimes", "drift", "export", "quantize"),
    ),
    "asked for little": (SMALL | {"reliability": False, "frontier": {"methods": []}}, PLAIN),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_target_requests_every_kept_file(kind, finished):
    """Snakemake makes a missing file only if the target requests it."""
    own, targets = KINDS[kind]
    finished.configure(run="own", experiments={"small": SMALL, "own": own})
    # What is there of `small` is not planned again, but kept all the same where it is read.
    for target, (asked, made) in asked_and_made(finished.folder, *targets).items():
        assert made - asked == set(), target
        assert asked - made == set(), target
        # Of steps that the experiment was not asked for, nothing is.
        assert asked or target in ("frontier", "reliability", "reproduce"), target


def everything(project) -> dict:
    return lasting(project.folder / "results")


def test_deleted_files_are_made_again(finished):
    """One of each step's, none the last of its step; and nothing else is lost."""
    before = everything(finished)
    for name in (
        *("figures/sweep.png", "figures/learning_curve.txt", "figures/frontier.svg"),
        *("sweep/test_cutoffs.csv", "evaluation/samples.parquet", "calibration/percentile.csv"),
        *("reliability/bins.csv", "temperature/temperatures.json", "frontier/policies.csv"),
    ):
        finished.path(name).unlink()
    finished.run("--cores", "2", check=True)
    assert everything(finished) == before
    assert finished.planned() == {}


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (
            "export",
            ["results/small/export/runner.py", "results/small/export/graphs/stage_2.onnx"],
        ),
        ("ship", ["checkpoints/branchynet-digits.md", "checkpoints/branchynet-digits.safetensors"]),
    ],
)
def test_files_that_are_no_outputs_are_made_again_for_their_target(
    target, names, extras_once, tmp_path
):
    """A graph lies in a folder that is an output as a whole; what is shipped is none."""
    project = copy(extras_once, tmp_path)
    first, last = (project.folder / name for name in names)
    first.rename(kept := tmp_path / "kept")
    assert project.planned(target) != {}
    kept.rename(first)
    last.unlink()
    assert project.planned() == {}
    project.run("--cores", "2", target, check=True)
    assert last.exists()
    assert project.planned(target) == {}


def copy(project, tmp_path) -> Project:
    folder = shutil.copytree(project.folder, tmp_path / "copy", symlinks=True)
    return Project(folder)


# Steps in the middle, and the file that is gone where they are interrupted.
INTERRUPTED = {
    "select_policy": "results/small/selection/policy.json",
    "calibrate_thresholds": "results/small/calibration/percentile.csv",
    "fit_temperatures": "results/small/temperature/temperatures.json",
    "record_exits": "results/small/exits/test.parquet",
    "measure_cost": "results/small/cost/cost.json",
}


def interrupted(project, listed: Path, how: int, *arguments: str) -> int:
    """Snakemake's exit status where it, and its jobs, get a signal while a file is written."""
    environment = os.environ | {"PYTHONWARNINGS": "ignore", "PYTHONPATH": str(KILLED)}
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
        cwd=project.folder,
        env=environment | {"HELD_BEFORE": str(listed)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    for _ in range(600):
        if listed.read_text() == "held" or process.poll() is not None:
            break
        time.sleep(0.1)
    os.killpg(process.pid, how)
    try:
        return process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        # Snakemake's handler of SIGTERM takes a lock that the interrupted thread may hold, and then
        # waits for ever. What sent the signal, a queue say, sends SIGKILL when its patience ends.
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait(timeout=60)
    finally:
        listed.unlink(missing_ok=True)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("how", "rules"),
    [
        (signal.SIGINT, ["record_exits", "select_policy"]),
        (signal.SIGTERM, ["measure_cost", "calibrate_thresholds"]),
        (signal.SIGKILL, [*INTERRUPTED]),
    ],
)
def test_after_an_interrupted_rerun_a_plain_run_makes_missing_files(
    how, rules, finished, tmp_path, tally
):
    before = everything(finished)
    for rule in rules[EVERY]:
        name = INTERRUPTED[rule]
        listed = tmp_path / "listed"
        listed.write_text(name)
        assert interrupted(finished, listed, how, "-R", rule) != 0
        assert not (finished.folder / name).exists(), rule
    finished.run("--cores", "2", check=True)
    assert everything(finished) == before
    assert finished.planned() == {}
    assert not list((finished.folder / "results").rglob(".*"))
    tally["reruns interrupted and recovered"] += len(rules[EVERY])


@pytest.mark.faults
def test_a_change_reverted_after_a_kill_loses_nothing(finished, tmp_path, tally):
    before, table = everything(finished), "results/small/calibration/percentile.csv"
    config = yaml.safe_load((finished.folder / "config.yaml").read_text())
    changed = SMALL | {"calibration": SMALL["calibration"] | {"targets": [0.5]}}
    finished.configure(run="small", experiments={"small": changed})
    (tmp_path / "listed").write_text(table)
    assert run(finished, tmp_path / "listed").returncode == -signal.SIGKILL
    assert not (finished.folder / table).exists()
    finished.configure(**config)
    finished.run("--cores", "2", check=True)
    assert everything(finished) == before
    tally["reruns interrupted and recovered"] += 1


ADVICE = re.compile(r"^stopped: (\S+): .*; delete (it|the older|\S+) and run again", re.MULTILINE)
OTHER = re.compile(r"than (\S+); delete the older")


def follow(project, most: int = 6) -> set[str]:
    """Run, and do what each message says, until there is none; the files that were deleted."""
    deleted = set()
    for _ in range(most):
        done = project.run("--cores", "2", "--keep-going")
        if done.returncode == 0:
            return deleted
        said = ADVICE.finditer(done.stderr)
        named = {told_to_delete(project.folder, match) for match in said}
        assert named, done.stderr
        for name in named:
            (project.folder / name).unlink()
        deleted |= named
    raise AssertionError(f"{most} times the advice was followed: {deleted}")


def told_to_delete(folder: Path, match: re.Match) -> str:
    name, what = match.groups()
    if what == "it":
        return name
    if what != "the older":
        return what
    pair = [name, OTHER.search(match[0])[1]]
    return min(pair, key=lambda one: (folder / one).stat().st_mtime)


# Files of every kind that a step reads, in groups that do not hide each other.
EDITED = [
    (
        *("calibration/percentile.csv", "sweep/test.csv", "temperature/temperatures.json"),
        *("frontier/policies.csv", "evaluation/per_exit.csv", "reliability/exits.csv"),
        "network/training.csv",
    ),
    ("selection/policy.json", "frontier/frontier.csv", "reliability/bins.csv"),
    ("exits/test.parquet", "cost/cost.json", "summary.json"),
    ("exits/calibration.parquet", "cost/cost.csv", "evaluation/evaluation.json"),
    ("network/network.safetensors",),
    ("data/manifest.json",),
]


@pytest.mark.faults
@pytest.mark.parametrize("names", EDITED[EVERY], ids=lambda names: names[0])
def test_deleting_the_named_file_and_running_again_repairs_it(names, finished, tally):
    """Whatever was edited: no file is missing then, and all are what they were."""
    before = everything(finished)
    for name in names:
        path = finished.path(name)
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 4] = b"\x00\x00\x00\x00"
        path.write_bytes(data)
    # What is made again on the way to another is not read before.
    assert follow(finished) <= {f"results/small/{name}" for name in names}
    assert everything(finished) == before
    assert finished.planned() == {}
    tally["remedies followed"] += len(names)


@pytest.mark.faults
@pytest.mark.parametrize(
    "name", ["selection/policy.json", "cost/cost.json", "exits/test.parquet"][EVERY]
)
def test_deleting_a_file_of_another_experiment_repairs_it(name, finished, tally):
    """A whole file of another experiment; it is found by what it disagrees with."""
    before = everything(finished)
    dict(misplaced(finished.path(name)))["of another experiment"]()
    deleted = follow(finished)
    assert f"results/small/{name}" in deleted
    # What took longest to make is not sacrificed to it.
    assert not deleted & {f"results/small/{own}" for own in ("network/network.safetensors",)}
    assert everything(finished) == before
    tally["remedies followed"] += 1


@pytest.mark.faults
def test_deleting_cost_and_evaluation_repairs_doubtful_times(finished, tally):
    """As `evaluation.doubtful_times` advises."""
    before = everything(finished)
    for folder in ("cost", "evaluation"):
        shutil.rmtree(finished.path(folder))
    finished.run("--cores", "2", check=True)
    assert everything(finished) == before
    tally["remedies followed"] += 1


def test_a_job_killed_by_the_system_is_reported_as_out_of_memory(finished, tmp_path):
    listed = tmp_path / "listed"
    listed.write_text("results/small/selection/policy.json")
    environment = os.environ | {"PYTHONPATH": str(KILLED), "DIED_BEFORE": str(listed)}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", "-R", "select_policy"],
        cwd=finished.folder,
        text=True,
        capture_output=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode != 0
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("stopped: "))
    assert line.startswith("stopped: results/small/logs/selection.log ends in the middle: ")
    assert "because memory ran out" in line
    assert "mem_mb" in line


@pytest.mark.faults
def test_code_edited_during_a_run_and_restored_makes_no_wrong_file(finished, tmp_path):
    """The job stops that would have run it; planned again, with the old code, all is right."""
    before = everything(finished)
    listed = tmp_path / "listed"
    listed.write_text("results/small/calibration/percentile.csv")
    environment = os.environ | {"PYTHONPATH": str(KILLED), "HELD_BEFORE": str(listed)}
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", "-R", "calibrate_thresholds"],
        cwd=finished.folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while listed.read_text() != "held" and process.poll() is None:
        time.sleep(0.1)
    # Of a step that has been planned, and has not begun.
    code = "scripts/early_exit/analysis/selection.py"
    whole = (finished.folder / code).read_text()
    (finished.folder / code).write_text(whole.replace("ratio.idxmax()", "ratio.idxmin()"))
    listed.unlink()
    shown, _ = process.communicate(timeout=300)
    (finished.folder / code).write_text(whole)
    assert process.returncode != 0, shown
    assert "stopped: selection: the code of this job was edited after the run was planned" in shown
    finished.run("--cores", "2", check=True)
    assert everything(finished) == before
    assert finished.planned() == {}


@pytest.mark.parametrize("name", ["reliability", "figures/sweep.png", "selection/policy.json", ""])
def test_a_path_that_is_blocked_is_named(name, finished, tmp_path):
    """A file in the place of a folder, or a folder in that of a file."""
    before = everything(finished)
    path = finished.path(name)
    kept = "file" if path.is_file() else "folder"
    path.rename(tmp_path / "aside")
    if kept == "file":
        path.mkdir()
        (path / "mine.txt").write_text("of the user's")
    else:
        path.write_text("of the user's")
    line = fails(finished)
    other = {"file": "folder", "folder": "file"}[kept]
    place = f"results/small/{name}".rstrip("/")
    assert line == f"error: {place}: a {other} is in the way of the {kept}; move it away"
    path.rename(tmp_path / "moved")
    (tmp_path / "aside").rename(path)
    assert everything(finished) == before
    assert finished.planned() == {}
