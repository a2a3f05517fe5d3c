"""A million samples with ten exits, through the steps that read records: in under 4 GB each.

`make test-large` prints what each took. Each step runs in a process of its own, as in the
workflow, and tells the most memory that it had.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from early_exit.analysis.evaluation import points_on_test
from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.targets import Target
from early_exit.figures.save import save_figure
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.operating_point import policy_of
from early_exit.policy.sweep import sweep, threshold_grid
from early_exit.records import shards
from early_exit.records.parquet import read_pieces, read_records, write_records
from early_exit.records.table import from_logits

pytestmark = pytest.mark.large

SAMPLES, EXITS, CLASSES = 1_000_000, 10, 10
SHARDS = 4
LIMIT_GB = 4.0
METHODS = ("percentile", "uniform", "accuracy_target")
CRITERION = ExitCriterion()
STEPS = ("joined", "swept", *METHODS, "evaluated", "drawn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the shards' records are, with their logits."""
    folder = tmp_path_factory.mktemp("large")
    for shard in range(1, SHARDS + 1):
        write_shard(folder, shard)
    return folder


def write_shard(folder: Path, shard: int) -> None:
    """Made-up records of a shard; later exits are surer and more often right."""
    rng = np.random.default_rng(shard)
    rows = shards.rows(SAMPLES, 32, shard, SHARDS)
    count = rows.stop - rows.start
    label = rng.integers(0, CLASSES, count)
    logits = rng.normal(size=(count, EXITS, CLASSES)).astype(np.float32)
    logits[np.arange(count), :, label] += 0.4 * np.arange(1, EXITS + 1, dtype=np.float32)
    provenance = {"network": "n", "data": "d", "split": "test", "shard": shard, "shards": SHARDS}
    index = np.arange(rows.start, rows.stop)
    part = from_logits(index, label, logits, provenance, whole=False)
    write_records(folder / f"{shard}.parquet", part)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_stays_under_the_limit(folder, step):
    done = subprocess.run(
        [sys.executable, __file__, step, str(folder)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": "scripts", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(f"{step}: {told['gb']:.2f} GB, {told['seconds']:.0f} CPU-seconds")
    assert told["samples"] == SAMPLES
    assert told["gb"] < LIMIT_GB


def joined(folder: Path) -> int:
    """The shards' records, joined, logits and all; later steps read them."""
    parts = [folder / f"{shard}.parquet" for shard in range(1, SHARDS + 1)]
    shards.join(folder / "test.parquet", parts)
    return sum(len(piece) for piece in read_pieces(folder / "test.parquet"))


def swept(folder: Path) -> int:
    """A hundred thresholds under both rules, as the step sweep does."""
    read = read_records(folder / "test.parquet")
    grid = threshold_grid("entropy", CLASSES, 100)
    both = [CRITERION.under(rule) for rule in ExitRule]
    tables = [sweep(read, prices(), criterion, grid) for criterion in both]
    pd.concat(tables).to_csv(folder / "sweep.csv", index=False)
    return len(read)


def calibrated(method: str, folder: Path) -> int:
    """One accuracy, by one method."""
    read = read_records(folder / "test.parquet")
    table = calibrate(method, read, prices(), [Target("accuracy", 0.7)], CRITERION)
    table.to_csv(folder / f"{method}.csv", index=False)
    return len(read)


def evaluated(folder: Path) -> int:
    """All calibrated policies on the records."""
    tables = [pd.read_csv(folder / f"{method}.csv", comment="#") for method in METHODS]
    chosen = policy_of(tables[0].iloc[0])
    read = read_records(folder / "test.parquet")
    points_on_test(tables, chosen, read, prices()).to_csv(folder / "points.csv", index=False)
    return len(read)


def drawn(folder: Path) -> int:
    """The figure of the sweep; figures read tables, never records."""
    summary = {
        "experiment": "large",
        "samples": {"test": SAMPLES},
        "selected": {"measure": "entropy", "exit_rule": "below"},
        "timing": {"batch_size": 32, "threads": 2},
    }
    tables = {
        name: pd.read_csv(folder / f"{name}.csv", comment="#") for name in ("sweep", "points")
    }
    save_figure("sweep", tables | {"summary": summary}, folder)
    return SAMPLES


def prices() -> CostModel:
    """Stages of 10, heads of 1 million MACs; in ms a millionth of that."""
    stage, head = np.full(EXITS, 10.0), np.ones(EXITS)
    ms = (stage[None], head[None], np.zeros((1, EXITS)))
    return CostModel(stage * 1e6, head * 1e6, np.array([32.0]), *ms, 32)


if __name__ == "__main__":
    step, place = sys.argv[1], Path(sys.argv[2])
    count = calibrated(step, place) if step in METHODS else globals()[step](place)
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {"samples": count, "gb": used.ru_maxrss / 2**20, "seconds": used.ru_utime}
    print(json.dumps(told))
