"""Warnings about a result: raised for real differences, rarely for chance."""

from copy import deepcopy

import numpy as np
import pytest

from early_exit.analysis.doubts import ALPHA, broken, differing_splits, doubts
from early_exit.analysis.headline import headline
from early_exit.records.table import from_external

CHOSEN = {"criterion": {"name": "fastest", "accuracy_floor": 0.84}, "certificate": None}
FULL = {"worse": 300, "better": 100}


def split(right, samples):
    """Records of two exits in which the full network classifies ``right`` samples correctly."""
    correct = np.zeros((samples, 2), bool)
    correct[:right, 1] = True
    return from_external(np.arange(samples), np.zeros((samples, 2)), correct, {})


def evaluated(accuracy, samples=10_000, **own):
    selected = {"accuracy": accuracy, "against_full": FULL} | own
    return {"samples": samples, "doubt": None, "selected": selected}


def test_splits_that_differ():
    warning = differing_splits(split(37_330, 50_000), split(35_670, 50_000))
    expected = "the splits differ: the full network is 74.66% accurate on calibration"
    assert warning.startswith(f"{expected} and 71.34% on test (p = 3e-32)")


@pytest.mark.parametrize(
    ("calibration", "test"),
    # The cards in checkpoints/, and the published network.
    [
        ((4605, 5000), (9081, 10_000)),
        ((2388, 2500), (9462, 10_000)),
        ((4228, 5000), (8382, 10_000)),
        ((30, 30), (29, 30)),
        ((0, 10), (0, 10)),
    ],
)
def test_splits_that_differ_by_chance(calibration, test):
    assert differing_splits(split(*calibration), split(*test)) is None


def rate(found: dict, drawn: list) -> float:
    return np.mean([found[one] for one in drawn])


@pytest.mark.thorough
def test_false_alarms_are_as_rare_as_stated():
    rng = np.random.default_rng(0)
    draws = 20_000
    most = ALPHA + 4 * np.sqrt(ALPHA / draws)
    pairs = list(zip(rng.binomial(300, 0.9, draws), rng.binomial(600, 0.9, draws), strict=True))
    differ = {(a, b): differing_splits(split(a, 300), split(b, 600)) is not None for a, b in pairs}
    assert rate(differ, pairs) <= most
    right = rng.binomial(10_000, 0.84, draws).tolist()
    missed = {k: bool(list(broken(CHOSEN, evaluated(k / 10_000)))) for k in right}
    assert 0 < rate(missed, right) <= most


@pytest.mark.parametrize(("accuracy", "missed"), [(0.84, 0), (0.835, 0), (0.825, 1), (0.9, 0)])
def test_a_missed_floor(accuracy, missed):
    found = list(broken(CHOSEN, evaluated(accuracy)))
    assert len(found) == missed
    if missed:
        expected = "the accuracy floor is missed: it is 0.84, and the policy is 82.50% accurate"
        assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("loss", "bound", "is_broken"),
    [("error", 0.1, True), ("error", 0.2, False), ("drop", 0.01, True), ("drop", 0.03, False)],
)
def test_a_certificate_that_does_not_hold_on_test(loss, bound, is_broken):
    chosen = {
        "criterion": {"name": "certified"},
        "certificate": {"loss": loss, "bound": bound, "delta": 0.1, "p_value": 0.01},
    }
    found = list(broken(chosen, evaluated(0.85)))
    assert bool(found) is is_broken
    assert not found or found[0].startswith(f"the certificate does not hold on test: {loss} of")


def test_every_doubt_is_in_the_headline():
    result = evaluated(0.7) | {"doubt": "do not trust these times: all"}
    found = doubts(CHOSEN, result, split(4000, 5000), split(7000, 10_000))
    assert [text.partition(":")[0] for text in found] == [
        "do not trust these times",
        "the splits differ",
        "the accuracy floor is missed",
    ]
    way = {"accuracy": 0.7, "macs": 1e6, "speedup": 2.0, "ms_per_sample_predicted": None}
    summary = {
        "experiment": "mine",
        "simulated": False,
        "selected": way,
        "full_network": deepcopy(way),
        "doubt": "; ".join(found),
    }
    first, second = headline(summary, "results/mine")
    assert first.startswith("mine: 70.00% accurate (the full network: 70.00%) at 1.00 of 1.00 M")
    assert second == f"mine: doubtful: {'; '.join(found)}"
    assert len(headline(summary | {"doubt": None}, "results/mine")) == 1
