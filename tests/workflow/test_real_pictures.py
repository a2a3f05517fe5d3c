"""The published network taken home, on the real CIFAR-10: the export, and the watch for drift."""

import numpy as np
import pytest

from corruptions import KINDS
from drift_power import halves_of_test, power, seen_of
from early_exit import datasets, networks
from early_exit.drift import Seen
from early_exit.files import read_json
from early_exit.policy import ExitRule, Policy
from early_exit.records import read_records

# Near those that the experiment `corrected` finds.
POLICY = Policy("entropy", ExitRule.BELOW, (-np.inf, 0.33, 0.37, -np.inf, 0.49))
SETTINGS = {"name": "cifar10", "calibration": None, "test": None, "split_seed": 42}
DRAWS = 100


def test_the_export_does_what_the_published_network_does(published, cifar10_dir):
    own = ["--config", "run=published", f"data_dir={cifar10_dir}"]
    published.run("--cores", "4", "export", *own, check=True)
    path = published.folder / "results/published/export/comparison.json"
    agreement = read_json(path)["agreement"]
    assert agreement["different"] == 0
    assert agreement["equal"] >= 9990


@pytest.fixture(scope="module")
def seen(published):
    """What the policy makes of the calibration and of the test split."""
    folder = published.folder / "results/published/exits"
    return [
        Seen.of(read_records(folder / f"{split}.parquet"), POLICY)
        for split in ("calibration", "test")
    ]


def test_held_out_halves_do_not_warn(seen):
    # Three standard deviations of a share of DRAWS above what is promised.
    alpha = 0.01
    most = alpha + 3 * np.sqrt(alpha * (1 - alpha) / DRAWS)
    assert halves_of_test(POLICY, *seen, DRAWS, alpha) <= most


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_made_worse_warn_without_a_label(published, cifar10_dir, seen, kind):
    network, _ = networks.load(published.folder / "results/published/network/network.safetensors")
    data = datasets.load(cifar10_dir, "test", SETTINGS)
    images = data.images.new_tensor(KINDS[kind](data.images[:1000].numpy(), 2))
    worse = seen_of(POLICY, network, images, data.labels[:1000].numpy())
    assert power(POLICY, seen[0], worse, 500, 20, labels=False) == 1
