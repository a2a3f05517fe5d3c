"""Files of external records with random numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

EXITS, CLASSES = 4, 5
# Stages of 1, 2, 3 and 4 million MACs and heads of 0.1, all run.
MACS = np.cumsum(1e6 * np.arange(1, EXITS + 1) + 1e5)
HEADS = np.full(EXITS, 1e5)


def logits_and_labels(samples: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K, C) with accuracy rising from exit to exit, and labels (N,)."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, samples)
    # Some samples are easy at every exit.
    ease = rng.gamma(2.0, 1.0, samples)[:, None] * np.linspace(0.6, 2.0, EXITS)
    logits = rng.normal(size=(samples, EXITS, CLASSES))
    logits[np.arange(samples), :, labels] += ease
    return logits.astype(np.float32), labels


def uncertainty_and_correct(samples: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """For the same samples, minus the gap between the two largest logits, and correctness."""
    logits, labels = logits_and_labels(samples, seed)
    ordered = np.sort(logits.astype(np.float64), axis=2)
    return ordered[..., -2] - ordered[..., -1], logits.argmax(axis=2) == labels[:, None]


def write_costs(path: Path, *columns: str) -> None:
    """The cost table with some of its columns."""
    every = {"macs": MACS, "head_macs": HEADS, "ms": MACS / 1e7, "head_ms": HEADS / 1e7}
    table = pd.DataFrame({"exit": range(1, EXITS + 1)} | {name: every[name] for name in columns})
    table.to_csv(path, index=False)


def write_logits(folder: Path) -> dict[str, str]:
    """An experiment's files with logits, and MACs for costs; the setting `records`."""
    for seed, split in enumerate(("calibration", "test")):
        logits, labels = logits_and_labels(seed=seed)
        np.savez(folder / f"{split}.npz", logits=logits, labels=labels)
    write_costs(folder / "costs.csv", "macs", "head_macs")
    return {"calibration": "calibration.npz", "test": "test.npz", "costs": "costs.csv"}


def write_external(folder: Path) -> dict[str, str]:
    """An experiment's files with external uncertainties, and ms for costs."""
    for seed, split in enumerate(("calibration", "test")):
        uncertainty, correct = uncertainty_and_correct(seed=seed)
        np.savez(folder / f"external_{split}.npz", uncertainty=uncertainty, correct=correct)
    write_costs(folder / "times.csv", "ms")
    return {
        "calibration": "external_calibration.npz",
        "test": "external_test.npz",
        "costs": "times.csv",
    }
