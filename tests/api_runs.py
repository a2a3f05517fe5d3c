"""Logits for the tests of the public API, and the folder of a small workflow run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from early_exit.io.files import sha256, write_json, write_table
from early_exit.records.parquet import write_records
from early_exit.records.table import from_logits

EXITS, CLASSES = 3, 4
ORIGIN = {"network": "n" * 64, "data": "d" * 64}
THRESHOLDS = [0.6, "never"]


def sample(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 3, 4) and labels of a network whose later exits are better."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, samples)
    signal = np.eye(4)[labels][:, None] * np.array([[1.0], [2.5], [4.0]])
    return signal + rng.normal(size=(samples, 3, 4)), labels


def write_run(folder: Path) -> Path:
    """Write what a workflow run of :func:`sample` leaves, as far as the API reads it."""
    for split, samples, seed in (("calibration", 500, 0), ("test", 300, 1)):
        logits, labels = sample(samples, seed)
        provenance = ORIGIN | {"split": split}
        records = from_logits(np.arange(samples), labels, logits.astype(np.float32), provenance)
        write_records(folder / "exits" / f"{split}.parquet", records)
    write_costs(folder)
    policy = {
        "measure": "entropy",
        "exit_rule": "below",
        "thresholds": THRESHOLDS,
        "temperatures": None,
    }
    chosen = {
        "policy": policy,
        "method": "coordinate",
        "target_kind": "drop",
        "target": 0.01,
        "certificate": None,
        "identity": ORIGIN,
    }
    write_json(folder / "selection" / "policy.json", chosen)
    names = [f"class {number}" for number in range(CLASSES)]
    manifest = {"digest": ORIGIN["data"], "class_names": names}
    write_json(folder / "data" / "manifest.json", manifest)
    write_json(folder / "summary.json", {"experiment": "small"})
    return folder


def write_costs(folder) -> None:
    """Stages that add up to 2, 6 and 15 million MACs, in a tenth of as many ms; free heads."""
    stages = np.array([2e6, 4e6, 9e6])
    rows = [
        {"part": part, "exit": k + 1, "batch_size": 8, "macs": macs, "ms_per_sample": macs / 1e7}
        for part in ("stage", "head", "overhead")
        for k, macs in enumerate(stages if part == "stage" else np.zeros(EXITS))
    ]
    write_table(folder / "cost" / "cost.csv", pd.DataFrame(rows))
    provenance = ORIGIN | {"costs": sha256(folder / "cost" / "cost.csv")}
    machine = {"batch_size": 8, "regroup": 0, "identity": provenance}
    write_json(folder / "cost" / "cost.json", machine)
