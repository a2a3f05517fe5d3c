"""What goes wrong around a run: disk, permissions, another run, the clock. And what it says."""

import logging
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from jobs import planned_jobs
from lasting import lasting
from test_bad_input import fails
from test_kills import KILLED

from conftest import PRIVATE, Project
from early_exit.datasets.load import prepare_dataset
from early_exit.errors import InputError
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import save_network
from early_exit.training.state import SavedState
from job.run import run_job

pytestmark = [pytest.mark.faults, pytest.mark.thorough]


@contextmanager
def mounted(folder: Path, *options: str):
    """A file system there for a while, or a skipped test where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mount needs root: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def full(folder: Path):
    """A disk of 8 kB there, full; what the folder holds is hidden as long."""
    with mounted(folder, "-t", "tmpfs", "-o", "size=8k", "none"):
        with open(folder / "fill", "wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))
        yield


@pytest.fixture(scope="module")
def jobs(finished_once):
    return {job.name: job for job in planned_jobs(finished_once.folder)}


@pytest.mark.parametrize(
    "rule",
    [
        *("prepare_data", "record_exits", "fit_temperatures", "sweep_thresholds"),
        *("calibrate_thresholds", "select_policy", "draw_learning_curve", "write_summary"),
    ],
)
def test_a_full_disk_is_named_and_nothing_is_lost(
    rule, jobs, finished_once, monkeypatch, capsys, tmp_path, tally
):
    monkeypatch.chdir(finished_once.folder)
    job = jobs[rule]
    job.log = [str(tmp_path / "job.log")]
    folder = Path(job.output[0]).parent
    before = {file: Path(file).read_bytes() for file in job.output}
    # Inputs beside the outputs must stay in sight.
    hidden = {Path(file) for file in job.input if isinstance(file, str)}
    if any(path.parent == folder or folder in path.parents for path in hidden):
        elsewhere = tmp_path / "full"
        job.output._names, old = dict(job.output._names), job.output
        job.output = type(old)(
            fromdict={name: str(elsewhere / Path(file).name) for name, file in old.items()}
        )
        folder = elsewhere
    try:
        with full(folder), pytest.raises(SystemExit):
            run_job(lambda _: job.run(), job)
    finally:
        logging.basicConfig(force=True)
        logging.captureWarnings(False)
    shown = capsys.readouterr().err
    assert shown.count("error: ") == 1
    assert "No space left on device; free some space and run again" in shown
    assert str(folder) in shown
    assert {file: Path(file).read_bytes() for file in before} == before
    tally["faults around a run survived"] += 1


def test_writers_of_torch_and_safetensors_say_that_the_disk_is_full(tmp_path, tally):
    folder = tmp_path / "full"
    network = build_network("branchynet", 10, [3, 32, 32])
    with full(folder):
        for name, write in {
            "a.safetensors": lambda path: save_network(network, path, {}),
            "a.pt": lambda path: SavedState(path, {}).save(network.state_dict()),
        }.items():
            with pytest.raises(OSError, match="No space left") as error:
                write(folder / name)
            assert error.value.filename == str(folder / name)
        assert [path.name for path in folder.iterdir()] == ["fill"]
    tally["faults around a run survived"] += 2


def test_results_that_cannot_be_written_to(finished, tally):
    results = finished.folder / "results"
    before = lasting(results)
    finished.path("summary.json").unlink()
    with mounted(results, "--bind", str(results)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(results)], check=True)
        error = fails(finished, "summarise")
    assert "results: cannot be written to" in error
    before.pop("small/summary.json")
    assert lasting(results) == before
    tally["faults around a run survived"] += 1


def test_a_file_in_the_way_of_the_results(project, tally):
    (project.folder / "results").write_text("mine")
    assert "results: a file is in the way of the folder" in fails(project)
    assert (project.folder / "results").read_text() == "mine"
    tally["faults around a run survived"] += 1


@pytest.mark.parametrize("kind", ["missing", "a file", "read-only"])
def test_a_data_folder_that_is_of_no_use(kind, tmp_path, tally):
    folder = tmp_path / "data"
    settings = {"name": "cifar10", "calibration": None, "test": None, "split_seed": 42}
    settings["mirrors"] = ["http://127.0.0.1:1/cifar-10-python.tar.gz"]
    if kind == "a file":
        folder.write_text("mine")
    if kind == "read-only":
        with (
            mounted(folder, "-t", "tmpfs", "-o", "ro", "none"),
            pytest.raises((InputError, OSError), match=str(folder)),
        ):
            prepare_dataset(folder, settings)
    else:
        with pytest.raises((InputError, OSError), match=str(folder)):
            prepare_dataset(folder, settings)
    assert kind != "a file" or folder.read_text() == "mine"
    tally["faults around a run survived"] += 1


def test_a_second_run_in_the_same_folder_is_refused_and_harmless(finished, tmp_path, tally):
    before = lasting(finished.folder / "results")
    finished.path("summary.json").unlink()
    listed = tmp_path / "listed"
    listed.write_text("results/small/summary.json")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "summarise"]
    environment = os.environ | {
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": str(KILLED),
        "HELD_BEFORE": str(listed),
    }
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    first = subprocess.Popen(command, cwd=finished.folder, env=environment, **quiet)
    try:
        while listed.exists() and listed.read_text() != "held":
            assert first.poll() is None
            time.sleep(0.1)
        second = finished.run("--cores", "2", "summarise")
    finally:
        listed.unlink()
    assert first.wait(timeout=300) == 0
    assert second.returncode != 0
    assert "Directory cannot be locked" in second.stderr
    assert "Traceback" not in second.stderr
    assert lasting(finished.folder / "results") == before
    tally["faults around a run survived"] += 1


def test_a_clock_that_was_set_back(finished, tally):
    before = lasting(finished.folder / "results")
    later = time.time() + 86_400
    for path in [*finished.folder.rglob("*"), finished.folder]:
        os.utime(path, (later, later))
    finished.path("selection/policy.json").unlink()
    # Snakemake's own words. What the job made is not kept, all else is.
    shown = finished.run("--cores", "2", "select")
    assert shown.returncode != 0
    assert "older modification time" in shown.stderr
    assert "clock skew" in shown.stderr
    assert "Traceback" not in shown.stderr
    kept = {name: content for name, content in before.items() if "policy.json" not in name}
    assert lasting(finished.folder / "results") == kept
    # As `find results -exec touch {} +` does.
    for path in (finished.folder / "results").rglob("*"):
        os.utime(path)
    finished.run("--cores", "2", "select", check=True)
    assert lasting(finished.folder / "results") == before
    tally["faults around a run survived"] += 1


def test_outputs_contain_no_user_or_path(finished_once: Project, tally):
    private = {
        "a secret of the environment": PRIVATE["SOME_TOKEN"],
        "the user's name": PRIVATE["USER"],
        "the project's place": str(finished_once.folder),
        "the home": str(Path.home()),
        "the installation's place": sys.prefix,
    }
    found = []
    files = [path for path in (finished_once.folder / "results").rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        found += [(path.name, what) for what, text in private.items() if text.encode() in content]
    assert len(files) > 60
    assert not found
    tally["files without private words"] += len(files)
