"""The published experiment on the real CIFAR-10, to the last published digit."""

import json
import stat

import numpy as np
import pandas as pd
import pytest

# What the published code gave when it was run again (docs/published-experiment.md).
REPRODUCED = {
    "overall accuracy, cutoff 0.6": 0.5856,
    "overall accuracy, desired 0.60": 0.6158,
    "overall accuracy, desired 0.65": 0.5840,
    "overall accuracy, desired 0.70": 0.5899,
    "overall accuracy, desired 0.75": 0.6148,
    "overall accuracy, desired 0.80": 0.6422,
    "overall accuracy, desired 0.85": 0.6485,
}
EACH_EXIT = [0.4430, 0.6105, 0.5990, 0.6996, 0.5, 0.9796]
THRESHOLDS = [0.0727, 0.0876, 0.0182, 0.0186, 0.0031, 0.0041]


@pytest.fixture(scope="session")
def reproduction(published):
    return pd.read_csv(published.folder / "results/published/reproduction.csv", comment="#")


def test_the_published_figures_are_reproduced(reproduction):
    columns = ["quantity", "published", "reproduced", "corrected"]
    assert reproduction.columns.tolist() == columns
    reproduced = reproduction.set_index("quantity").reproduced
    for quantity, value in REPRODUCED.items():
        assert reproduced[quantity] == pytest.approx(value, abs=5e-5), quantity
    for k, value in enumerate(EACH_EXIT, 1):
        assert reproduced[f"accuracy at exit {k}, cutoff 0.6"] == pytest.approx(value, abs=5e-5)
    for k, value in enumerate(THRESHOLDS, 1):
        name = f"threshold of exit {k}, desired 0.85"
        assert reproduced[name] == pytest.approx(value, abs=1e-4)


def test_the_corrected_figures_stand_beside_them(reproduction):
    corrected = reproduction.set_index("quantity").corrected
    assert corrected["overall accuracy, cutoff 0.6"] == pytest.approx(0.7825, abs=5e-5)
    assert corrected["overall accuracy, desired 0.85"] == pytest.approx(0.835, abs=1e-3)
    assert np.isfinite(reproduction.published).all()


def test_correct_weights_with_the_published_rule(published):
    """Honest weights alone, the rule left as it was: the column that only the rule is wrong in."""
    points = pd.read_csv(
        published.folder / "results/published/evaluation/operating_points.csv", comment="#"
    )
    assert points.accuracy[:6].tolist() == pytest.approx(
        [0.6156, 0.6200, 0.6174, 0.6163, 0.6162, 0.6159], abs=1.5e-4
    )
    cutoffs = pd.read_csv(
        published.folder / "results/published/sweep/test_cutoffs.csv", comment="#"
    )
    overall = cutoffs[cutoffs.exit == "overall"].set_index("exit_rule").accuracy
    assert overall.to_dict() == pytest.approx({"above": 0.6347, "below": 0.7825})


def test_the_full_network(published):
    summary = json.loads((published.folder / "results/published/summary.json").read_text())
    assert summary["per_exit_accuracy"] == pytest.approx(
        [0.6156, 0.7255, 0.7777, 0.8033, 0.8221, 0.8382], abs=1e-4
    )
    assert summary["full_network"]["accuracy"] == pytest.approx(0.8382, abs=1e-4)
    assert summary["selected"]["exit_rule"] == "above"
    assert summary["agreement"]["different"] == 0
    assert summary["samples"] == {"calibration": 5000, "test": 10000}


def test_a_complete_data_dir_is_not_written_to(published, cifar10_dir, tmp_path):
    """A `data_dir` that nobody may write to serves as it is."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("cifar-10-batches-py", "weights"):
        (folder / name).symlink_to(cifar10_dir / name)
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    before = sorted(path.name for path in folder.iterdir())
    files = [
        "results/published/data/manifest.json",
        "results/published/network/network.safetensors",
    ]
    arguments = ["--config", "run=published", f"data_dir={folder}"]
    published.run("--cores", "2", "--force", *files, *arguments, check=True)
    assert sorted(path.name for path in folder.iterdir()) == before
