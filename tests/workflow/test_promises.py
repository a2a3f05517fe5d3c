"""Do certificates hold? On the published network's records of the real CIFAR-10, drawn anew.

The records of both splits are the population, so that the true loss of a policy is known.
"""

import numpy as np
import pytest

from early_exit.analysis.study import pool
from early_exit.calibration.methods import certified
from early_exit.calibration.targets import Target
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.samples import Samples
from early_exit.records.parquet import read_records

pytestmark = pytest.mark.thorough

RESAMPLINGS = 500
DELTA = 0.1
TARGET = Target("drop", 0.01, DELTA)
# Three standard deviations of a share of 500.
ERROR = 3 * np.sqrt(DELTA * (1 - DELTA) / RESAMPLINGS)
# A step of the coarse family takes the drop from nothing to more than is promised.
COARSE = 12
SPLITS = ("calibration", "test")


@pytest.fixture(scope="module")
def population(published):
    folder = published.folder / "results/published/exits"
    records = [read_records(folder / f"{split}.parquet", logits=True) for split in SPLITS]
    return Samples.of(pool(*records), ExitCriterion())


def family(samples: Samples, steps: int) -> np.ndarray:
    return np.repeat(np.linspace(*samples.span, steps)[:, None], samples.exits - 1, axis=1)


def broken(population: Samples, steps: int, one_too_far: bool = False) -> float:
    """The share of resamplings in which the policy loses more than was promised."""
    rows = family(population, steps)
    losses = [
        population.full_network_accuracy - population.right(population.taken(row)).mean()
        for row in rows
    ]
    rng = np.random.default_rng(0)
    count = 0
    for _ in range(RESAMPLINGS):
        drawn = population.select(rng.integers(len(population), size=5000))
        thresholds, _ = certified.certify(drawn, rows, TARGET)
        held = np.flatnonzero((rows == thresholds).all(axis=1))
        place = (held[0] if len(held) else -1) + one_too_far
        count += place >= 0 and losses[place] > TARGET.value
    return count / RESAMPLINGS


@pytest.mark.parametrize("steps", [certified.STEPS, COARSE])
def test_promises_hold(population, steps):
    assert broken(population, steps) <= DELTA + ERROR


def test_the_test_detects_one_policy_too_far(population):
    assert broken(population, COARSE, one_too_far=True) > DELTA + ERROR
