"""Run a small experiment many times, killed at random, and check that nothing is lost or left over.

``python tests/soak.py --runs 50`` runs the digits, trained for one epoch, from nothing to the end;
each run is killed with -9 at random times, and begun again until it is through. Each must end with
the artifacts of the first, which is not killed, with no lock, and with no temporary file.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT), str(ROOT.parent / "scripts")]

from lasting import lasting  # noqa: E402

from conftest import copy_of_project  # noqa: E402


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    given.add_argument("--runs", type=int, default=50, help="how many runs (default: 50)")
    given.add_argument("--kills", type=int, default=2, help="kills in each, at most (default: 2)")
    given.add_argument("--seed", type=int, default=0, help="of the times of the kills")
    arguments = given.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        print(soak(Path(folder), arguments.runs, arguments.kills, arguments.seed))


def soak(folder: Path, runs: int, most_kills: int, seed: int) -> str:
    """A one-line result; fails if something was lost or left over."""
    temporary = folder / "tmp"
    temporary.mkdir()
    chance, kills = random.Random(seed), 0
    start = time.monotonic()
    expected = once(folder / "unbroken", temporary, [])[0]
    seconds = time.monotonic() - start
    rest = []
    for number in range(runs):
        times = [seconds * chance.uniform(0.05, 0.6) for _ in range(chance.randint(1, most_kills))]
        made, killed = once(folder / f"run{number}", temporary, times)
        kills += killed
        assert made == expected, f"run {number}: other artifacts than the unbroken run"
        rest.append(sum(1 for _ in temporary.rglob("*")))
        print(f"run {number + 1} of {runs}: killed {killed} times, the same artifacts", flush=True)
    # What a killed process leaves in TMPDIR, the system clears; it must not grow by the run.
    assert max(rest, default=0) <= 10 * (1 + kills), f"temporary files grow: {rest}"
    return f"soak: {runs} runs, {kills} kills, {runs} with the same artifacts, 0 results lost"


def once(folder: Path, temporary: Path, times: list[float]) -> tuple[dict, int]:
    """A fresh run, killed after each of `times` seconds: its artifacts, and the number of kills."""
    folder.mkdir()
    project, killed = copy_of_project(folder), 0
    for seconds in times:
        process = begin(folder, temporary)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
    assert begin(folder, temporary).wait() == 0, f"{folder}: did not recover"
    results = folder / "results"
    left = [*results.rglob(".*"), *results.rglob("training_state.pt")]
    assert not left, f"left behind: {left}"
    assert not (folder / ".snakemake/locks").exists(), "the lock is still there"
    assert project.planned() == {}, "not finished"
    return lasting(results), killed


def begin(folder: Path, temporary: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2"],
        cwd=folder,
        env=os.environ | {"PYTHONWARNINGS": "ignore", "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


if __name__ == "__main__":
    main()
