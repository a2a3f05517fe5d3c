"""Share of broken certificates among all draws, and among those that issued one.

    python tests/certificate_coverage.py --data-dir D

Prints the table of docs/calibration.md. The published network's records of the calibration and the
test split are the population, so that what a policy truly loses is known; calibration splits of
5,000 are drawn from it with replacement. `D` holds CIFAR-10 and `weights/cifar10_branchyNet_m.h5`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from early_exit.analysis.study import pool
from early_exit.calibration.methods import certified, certified_path
from early_exit.calibration.targets import Target, label
from early_exit.datasets.load import load_split
from early_exit.inference.cost import count_macs
from early_exit.inference.engine import REFERENCE
from early_exit.inference.exits import all_exits
from early_exit.networks import MultiExitNetwork
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import load_checkpoint
from early_exit.policy.costs import CostModel, UnitCosts
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.samples import Samples
from early_exit.records.table import from_logits

CHECKPOINT = "weights/cifar10_branchyNet_m.h5"
SPLITS = ("calibration", "test")
DRAWN, DRAWS, DELTA = 5000, 200, 0.1
# Up to the full network's accuracy, and a little beyond.
ACCURACIES = (0.80, 0.82, 0.83, 0.835, 0.84, 0.845, 0.85)
DROPS = (0.002, 0.01, 0.05)


class Remembered(Samples):
    """Samples that cache results by thresholds, since all targets repeat them."""

    def taken(self, thresholds: np.ndarray) -> np.ndarray:
        known = self.__dict__.setdefault("known", {})
        key = thresholds.tobytes()
        if key not in known:
            known[key] = super().taken(thresholds)
        return known[key]


def published(data_dir: Path) -> MultiExitNetwork:
    """The published network with the published weights."""
    network = build_network("branchynet", 10, [3, 32, 32])
    load_checkpoint(network, data_dir / CHECKPOINT)
    return network


def population(network: MultiExitNetwork, data_dir: Path) -> Samples:
    """Records of both splits, with entropy and the rule `below`."""
    records = []
    for split in SPLITS:
        data = load_split(
            data_dir, split, {"name": "cifar10", "split_seed": 42, "calibration": None}
        )
        logits = all_exits(network, data.inputs, 128, REFERENCE)
        index, label = data.index.numpy(), data.labels.numpy()
        records.append(from_logits(index, label, logits, {"split": split}))
    return Remembered.of(pool(*records), ExitCriterion())


def macs_of(network: MultiExitNetwork) -> UnitCosts:
    """Costs by which `certified_path` orders policies."""
    with torch.inference_mode():
        counted = count_macs(network.eval(), torch.zeros(1, 3, 32, 32))
    macs = [np.array([counted[part, k] for k in range(1, 7)], float) for part in ("stage", "head")]
    return CostModel(*macs, np.array([1.0]), *np.ones((3, 1, 6)), 1).in_unit("macs")


def loss_of(target: Target, everybody: Samples, thresholds: np.ndarray) -> float:
    """True loss of a policy: its error, or its drop against the full network."""
    accuracy = everybody.right(everybody.taken(thresholds)).mean()
    return everybody.full_network_accuracy - accuracy if target.kind == "drop" else 1.0 - accuracy


def count(method: ModuleType, everybody: Samples, prices: UnitCosts, draws: int) -> dict:
    """For each target, the numbers of draws with a certificate and with a broken one."""
    targets = [Target("accuracy", share, DELTA) for share in ACCURACIES]
    targets += [Target("drop", share, DELTA) for share in DROPS]
    found = {target: [0, 0] for target in targets}
    rng = np.random.default_rng(0)
    for _ in range(draws):
        drawn = everybody.select(rng.integers(len(everybody), size=DRAWN))
        rows = method.certified(drawn, prices, targets)
        for target, (thresholds, certificate) in zip(targets, rows, strict=True):
            if certificate.p_value is None:
                continue
            found[target][0] += 1
            found[target][1] += loss_of(target, everybody, thresholds) > certificate.bound
    return found


def row(name: str, target: str, draws: int, issued: int, broken: int) -> str:
    """A row of the table; without certificates none is broken."""
    given = f"{broken / issued:.1%}" if issued else "-"
    return f"| {name} | {target} | {issued} | {broken} | {broken / draws:.1%} | {given} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, default="data")
    parser.add_argument("--draws", type=int, default=DRAWS)
    options = parser.parse_args()
    network = published(options.data_dir)
    everybody, prices = population(network, options.data_dir), macs_of(network)
    print(
        f"{len(everybody)} samples, the full network is right on"
        f" {everybody.full_network_accuracy:.2%};"
        f" {options.draws} draws of {DRAWN}, delta {DELTA:g}"
    )
    print(
        "| method | target | issued | broken | of all draws | of those issued |\n"
        + "|---" * 6
        + "|"
    )
    for name, method in (("certified", certified), ("certified_path", certified_path)):
        found = count(method, everybody, prices, options.draws)
        for target, counts in found.items():
            print(row(name, label(target.kind, target.value), options.draws, *counts), flush=True)
        for kind in ("accuracy", "drop"):
            own = np.array([counts for target, counts in found.items() if target.kind == kind])
            print(row(name, f"all of {kind}", len(own) * options.draws, *own.sum(axis=0)))


if __name__ == "__main__":
    main()
