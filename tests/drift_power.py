"""Share of warnings of `early-exit check` for held-out images and corrupted ones.

    python tests/drift_power.py results/corrected/selection/policy.json --data-dir D

Prints the tables of docs/deployment.md. Nothing is chosen by them. The network runs once over the
test split and once over each corrupted copy of it; the rest is drawn from the records.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from early_exit.analysis.drift import ALPHA, Observed, compare_observed
from early_exit.cli.experiment import read_experiment
from early_exit.datasets.corruptions import KINDS
from early_exit.datasets.load import load_split
from early_exit.inference.engine import Engine
from early_exit.inference.exits import all_exits
from early_exit.networks.checkpoint import load_network
from early_exit.records.table import from_logits

DRAWS = 1000
SIZES = (100, 300, 1000, 5000)


def seen_of(policy, network, images, labels) -> Observed:
    """Records of images, with every exit run once."""
    logits = all_exits(network, images, 128, Engine())
    provenance = {"network": "", "split": "new"}
    records = from_logits(np.arange(len(labels)), labels, logits, provenance, whole=False)
    return Observed.of(records, policy)


def halves_of_test(
    policy, calibration: Observed, test: Observed, draws: int, alpha: float
) -> float:
    """Share of random halves of the test split that warn, against calibration."""
    rng = np.random.default_rng(0)
    samples = len(test.taken)
    return np.mean(
        [
            compare_observed(
                policy,
                calibration,
                test.select(rng.permutation(samples)[: samples // 2]),
                None,
                alpha,
            ).found
            for _ in range(draws)
        ]
    )


def drawn_anew(policy, calibration: Observed, test: Observed, draws: int, alpha: float) -> float:
    """Share of warnings when the pooled splits are divided at random into reference and new."""
    both = Observed(
        *(
            np.concatenate([getattr(one, field) for one in (calibration, test)])
            for field in ("taken", "uncertainty", "correct", "full_correct")
        )
    )
    rng, size = np.random.default_rng(1), len(calibration.taken)
    warned = 0
    for _ in range(draws):
        order = rng.permutation(len(both.taken))
        parts = both.select(order[:size]), both.select(order[size : 2 * size])
        warned += compare_observed(policy, *parts, None, alpha).found
    return warned / draws


def power(
    policy, calibration: Observed, worse: Observed, size: int, draws: int, labels: bool
) -> float:
    """Share of draws of ``size`` corrupted images that warn."""
    rng, warned = np.random.default_rng(2), 0
    for _ in range(draws):
        drawn = worse.select(rng.choice(len(worse.taken), size, replace=False))
        if not labels:
            drawn = Observed(
                drawn.taken, drawn.uncertainty, drawn.correct[:0], drawn.full_correct[:0]
            )
        warned += compare_observed(policy, calibration, drawn).found
    return warned / draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("policy")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--draws", type=int, default=DRAWS)
    options = parser.parse_args()
    experiment = read_experiment(options.policy)
    policy, manifest = experiment.policy, experiment.manifest()
    calibration = Observed.of(experiment.calibration(), policy)
    network, _ = load_network(experiment.network_file())
    settings = {"name": manifest["dataset"], **manifest["settings"]}
    data = load_split(options.data_dir, "test", settings)
    images, labels = data.inputs.numpy(), data.labels.numpy()
    test = seen_of(policy, network, data.inputs, labels)
    for alpha in (0.05, ALPHA):
        held = halves_of_test(policy, calibration, test, options.draws, alpha)
        anew = drawn_anew(policy, calibration, test, options.draws, alpha)
        print(f"alpha {alpha}: halves of test {held:.3f}, both splits cut anew {anew:.3f}")
    sizes = [size for size in SIZES if size <= len(labels)]
    print("| images made worse | accuracy |", " | ".join(f"{size} new" for size in sizes), "|")
    print("|---" * (2 + len(sizes)) + "|")
    few = max(1, options.draws // 5)
    for kind, make_worse in KINDS.items():
        for strength in range(3):
            changed = data.inputs.new_tensor(make_worse(images, strength))
            worse = seen_of(policy, network, changed, labels)
            shares = [
                f"{power(policy, calibration, worse, size, few, False):.2f}"
                f" ({power(policy, calibration, worse, size, few, True):.2f})"
                for size in sizes
            ]
            accuracy = f"{worse.correct.mean():.2%}"
            print(f"| {kind} {strength + 1} | {accuracy} |", " | ".join(shares), "|", flush=True)


if __name__ == "__main__":
    main()
