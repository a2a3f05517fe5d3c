"""50,000 + 50,000 samples, ten exits, 1,000 classes, 1 GB a split: a plain run, no job above 2 GB.

`make test-large` prints what each job took. Once as `.npz`, once as pandas writes Parquet: one row
group.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from numpy.lib import format as npy

pytestmark = pytest.mark.large

ROOT = Path(__file__).parents[2]
SAMPLES, EXITS, CLASSES, ROWS = 50_000, 10, 1000, 1000
LIMIT_GB = 2.0
OWN = {
    "calibration": {
        "methods": ["uniform", "coordinate", "certified_path"],
        "targets": [{"drop": 0.01}, {"drop": 0.05}, {"macs_share": 0.5}],
    },
    "selection": {"criterion": "fastest", "accuracy_floor": 0.5},
}


def pieces(seed: int):
    """Labels (N,), and logits in half precision, `ROWS` samples at a time."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, SAMPLES)
    yield labels
    for start in range(0, SAMPLES, ROWS):
        own = labels[start : start + ROWS]
        logits = rng.standard_normal((len(own), EXITS, CLASSES), dtype=np.float32)
        ease = 2 + rng.gamma(2, 1.5, size=(len(own), 1)) * np.linspace(0.7, 2, EXITS)
        logits[np.arange(len(own)), :, own] += ease
        yield logits.astype("<f2")


def write_npz(path: Path, seed: int) -> None:
    found = pieces(seed)
    labels = next(found)
    head = {"descr": "<f2", "fortran_order": False, "shape": (SAMPLES, EXITS, CLASSES)}
    with zipfile.ZipFile(path, "w") as file:
        with file.open("labels.npy", "w") as member:
            npy.write_array(member, labels)
        with file.open("logits.npy", "w", force_zip64=True) as member:
            npy.write_array_header_2_0(member, head)
            for logits in found:
                member.write(logits.tobytes())


def write_parquet(path: Path, seed: int) -> None:
    """In one row group."""
    found = pieces(seed)
    columns = {"label": pa.array(next(found))}
    lists = [[] for _ in range(EXITS)]
    for logits in found:
        for k, own in enumerate(lists):
            flat = pa.array(np.ascontiguousarray(logits[:, k]).ravel())
            ends = pa.array(np.arange(len(logits) + 1) * CLASSES, pa.int32())
            own.append(pa.ListArray.from_arrays(ends, flat))
    columns |= {f"logits_{k}": pa.chunked_array(own) for k, own in enumerate(lists, start=1)}
    pq.write_table(pa.table(columns), path, row_group_size=SAMPLES)


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_a_plain_run_stays_under_the_limit(tmp_path, form):
    write = write_npz if form == "npz" else write_parquet
    files = {split: f"{split}.{form}" for split in ("calibration", "test")}
    for seed, file in enumerate(files.values()):
        write(tmp_path / file, seed)
    rows = "".join(f"{k},{k}00000000,1000000\n" for k in range(1, EXITS + 1))
    (tmp_path / "costs.csv").write_text(f"exit,macs,head_macs\n{rows}")
    for part in ("rules", "scripts", "profiles", "envs"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", tmp_path)
    plain = OWN | {"records": files | {"costs": "costs.csv"}}
    scaled = plain | {"measure": "margin", "temperature_scaling": True}
    config = {"run": ["plain", "scaled"], "experiments": {"plain": plain, "scaled": scaled}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for path in sorted(tmp_path.glob("results/*/benchmarks/*.tsv")):
        row = pd.read_csv(path, sep="\t").iloc[0]
        print(f"{form} {path.parts[-3]} {path.stem}: {row.max_rss / 1024:.2f} GB, {row.s:.0f} s")
    # Of all processes that the run started, the one that took most.
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{form}: {most:.2f} GB at most")
    assert most < LIMIT_GB
