"""The published network taken home, on the real CIFAR-10: the export, and the watch for drift."""

import shutil

import numpy as np
import pytest

from conftest import Project
from drift_power import halves_of_test, power, seen_of
from early_exit.analysis.drift import Observed
from early_exit.datasets.corruptions import KINDS
from early_exit.datasets.load import load_split
from early_exit.io.files import read_json
from early_exit.networks.checkpoint import load_network
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.records.parquet import read_records

pytestmark = pytest.mark.thorough

# Near those that the experiment `corrected` finds.
POLICY = Policy(ExitCriterion(), (-np.inf, 0.33, 0.37, -np.inf, 0.49))
SETTINGS = {"name": "cifar10", "calibration": None, "test": None, "split_seed": 42}
DRAWS = 100


def test_the_export_does_what_the_published_network_does(published, cifar10_dir, tmp_path):
    # Other tests may be running in the folder itself.
    folder = shutil.copytree(published.folder, tmp_path / "published", symlinks=True)
    own = ["--config", "run=published", f"data_dir={cifar10_dir}"]
    Project(folder).run("--cores", "4", "export", *own, check=True)
    path = folder / "results/published/export/comparison.json"
    agreement = read_json(path)["agreement"]
    assert agreement["different"] == 0
    assert agreement["equal"] >= 9990


@pytest.fixture(scope="module")
def seen(published):
    """What the policy makes of the calibration and of the test split."""
    folder = published.folder / "results/published/exits"
    return [
        Observed.of(read_records(folder / f"{split}.parquet"), POLICY)
        for split in ("calibration", "test")
    ]


def test_held_out_halves_show_no_drift(seen):
    # Three standard deviations of a share of DRAWS above what is promised.
    alpha = 0.01
    most = alpha + 3 * np.sqrt(alpha * (1 - alpha) / DRAWS)
    assert halves_of_test(POLICY, *seen, DRAWS, alpha) <= most


@pytest.mark.parametrize("kind", KINDS)
def test_degraded_images_show_drift_without_labels(published, cifar10_dir, seen, kind):
    network, _ = load_network(published.folder / "results/published/network/network.safetensors")
    data = load_split(cifar10_dir, "test", SETTINGS)
    images = data.inputs.new_tensor(KINDS[kind](data.inputs[:1000].numpy(), 2))
    worse = seen_of(POLICY, network, images, data.labels[:1000].numpy())
    assert power(POLICY, seen[0], worse, 500, 20, labels=False) == 1
