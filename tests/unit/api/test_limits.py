"""The limit of any thresholds, against every pair of thresholds tried by brute force."""

from itertools import product

import numpy as np
import pytest

import early_exit as ee
from api_runs import sample
from early_exit.errors import InputError
from early_exit.records.uncertainty import entropy

LOGITS, LABELS = sample(40, seed=0)
MACS = np.array([2e6, 6e6, 15e6])


@pytest.fixture
def run():
    return ee.from_logits(LOGITS, LABELS, macs=MACS).using(measure="entropy")


def every_policy():
    """Accuracy and MACs of each pair of thresholds, with the heads that run paid."""
    unsure = entropy.uncertainty(LOGITS.astype(np.float32).astype(np.float64))
    right = LOGITS.argmax(axis=2) == LABELS[:, None]
    levels = [np.append(np.unique(unsure[:, k]), np.inf) for k in range(2)]
    for first, second in product(*levels):
        exits = np.where(unsure[:, 0] < first, 0, np.where(unsure[:, 1] < second, 1, 2))
        yield right[np.arange(len(exits)), exits].mean(), MACS[exits].mean()


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_run_to_the_end_the_limit_of_a_budget_is_the_optimum(run, share):
    policy = run.calibrate("uniform", macs_share=share)
    found = run.limit(policy, nodes=100_000)
    best = max(accuracy for accuracy, macs in every_policy() if macs <= share * MACS[-1])
    assert found.limit == pytest.approx(best)
    assert found.reached == run.simulate(policy, "calibration").accuracy <= found.limit
    assert found.gap == pytest.approx(best - found.reached)
    assert found.oracle >= found.limit
    assert f"{100 * found.gap:.2f} points at most" in repr(found)


def test_of_a_drop_the_limit_is_a_cost(run):
    policy = run.calibrate("coordinate", drop=0.05)
    found = run.limit(policy, nodes=100_000)
    least = (LOGITS.argmax(axis=2) == LABELS[:, None])[:, -1].mean() - 0.05
    best = min(macs for accuracy, macs in every_policy() if accuracy >= least - 1e-9)
    assert found.limit == pytest.approx(best / MACS[-1])
    assert found.reached >= found.limit - 1e-9


def test_only_a_calibrated_policy_has_a_limit(run):
    with pytest.raises(InputError, match=r"no target .*calibrate"):
        run.limit(run.make_policy(0.5))


@pytest.mark.parametrize("measure", ["gate", "ensemble"])
def test_fitted_criteria_are_bounded_on_the_samples_that_thresholds_come_from(measure):
    logits, labels = sample(200, seed=2)
    run = ee.from_logits(logits, labels, macs=MACS).using(measure=measure)
    found = run.limit(run.calibrate("coordinate", macs_share=0.6), nodes=1)
    assert 0 < found.reached <= found.limit <= 1


def test_a_cost_that_the_run_has_not_is_refused(run):
    with pytest.raises(InputError, match="needs costs in ms"):
        run.limit(run.calibrate("uniform", drop=0.05), cost="ms")
