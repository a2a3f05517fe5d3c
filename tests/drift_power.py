"""How often `early-exit check` warns: of held-out pictures, and of the same made worse.

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

from corruptions import KINDS
from early_exit import datasets, networks
from early_exit.cli.experiment import read_experiment
from early_exit.drift import ALPHA, Seen, compare_seen
from early_exit.engine import Engine
from early_exit.extraction import all_exits
from early_exit.records import from_logits

DRAWS = 1000
SIZES = (100, 300, 1000, 5000)


def seen_of(policy, network, images, labels) -> Seen:
    """What a policy makes of pictures, every exit run once."""
    logits = all_exits(network, images, 128, Engine())
    identity = {"network": "", "split": "new"}
    records = from_logits(np.arange(len(labels)), labels, logits, identity, whole=False)
    return Seen.of(records, policy)


def halves_of_test(policy, calibration: Seen, test: Seen, draws: int, alpha: float) -> float:
    """The share of random halves of the test split that warn, against calibration as it is."""
    rng = np.random.default_rng(0)
    samples = len(test.taken)
    return np.mean(
        [
            compare_seen(
                policy,
                calibration,
                test.select(rng.permutation(samples)[: samples // 2]),
                None,
                alpha,
            ).found
            for _ in range(draws)
        ]
    )


def drawn_anew(policy, calibration: Seen, test: Seen, draws: int, alpha: float) -> float:
    """The share of warnings where both splits are pooled, and cut anew into reference and new."""
    both = Seen(
        *(
            np.concatenate([getattr(one, field) for one in (calibration, test)])
            for field in ("taken", "uncertainty", "right", "whole_right")
        )
    )
    rng, size = np.random.default_rng(1), len(calibration.taken)
    warned = 0
    for _ in range(draws):
        order = rng.permutation(len(both.taken))
        parts = both.select(order[:size]), both.select(order[size : 2 * size])
        warned += compare_seen(policy, *parts, None, alpha).found
    return warned / draws


def power(policy, calibration: Seen, worse: Seen, size: int, draws: int, labels: bool) -> float:
    """The share of draws of ``size`` pictures made worse that warn."""
    rng, warned = np.random.default_rng(2), 0
    for _ in range(draws):
        drawn = worse.select(rng.choice(len(worse.taken), size, replace=False))
        if not labels:
            drawn = Seen(drawn.taken, drawn.uncertainty, drawn.right[:0], drawn.whole_right[:0])
        warned += compare_seen(policy, calibration, drawn).found
    return warned / draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("policy")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--draws", type=int, default=DRAWS)
    options = parser.parse_args()
    experiment = read_experiment(options.policy)
    policy, manifest = experiment.policy, experiment.manifest()
    calibration = Seen.of(experiment.calibration(), policy)
    network, _ = networks.load(experiment.network_file())
    settings = {"name": manifest["dataset"], **manifest["settings"]}
    data = datasets.load(options.data_dir, "test", settings)
    images, labels = data.images.numpy(), data.labels.numpy()
    test = seen_of(policy, network, data.images, labels)
    for alpha in (0.05, ALPHA):
        held = halves_of_test(policy, calibration, test, options.draws, alpha)
        anew = drawn_anew(policy, calibration, test, options.draws, alpha)
        print(f"alpha {alpha}: halves of test {held:.3f}, both splits cut anew {anew:.3f}")
    sizes = [size for size in SIZES if size <= len(labels)]
    print("| pictures made worse | accuracy |", " | ".join(f"{size} new" for size in sizes), "|")
    print("|---" * (2 + len(sizes)) + "|")
    few = max(1, options.draws // 5)
    for kind, make_worse in KINDS.items():
        for strength in range(3):
            changed = data.images.new_tensor(make_worse(images, strength))
            worse = seen_of(policy, network, changed, labels)
            shares = [
                f"{power(policy, calibration, worse, size, few, False):.2f}"
                f" ({power(policy, calibration, worse, size, few, True):.2f})"
                for size in sizes
            ]
            accuracy = f"{worse.right.mean():.2%}"
            print(f"| {kind} {strength + 1} | {accuracy} |", " | ".join(shares), "|", flush=True)


if __name__ == "__main__":
    main()
