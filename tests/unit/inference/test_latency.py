"""Which policies are timed one sample at a time, how they take turns, and their percentiles."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from early_exit.inference import latency, timing
from early_exit.inference.engine import REFERENCE
from early_exit.inference.exits import all_exits
from early_exit.inference.latency import (
    columns,
    handful,
    latency_table,
    time_singles,
)
from early_exit.policy.criterion import ExitCriterion
from early_exit.records.table import from_logits
from helpers import SmallNetwork, make_costs, random_images


def points(*rows, chosen=0):
    """Operating points of two exits: method, threshold, calibration accuracy and cost."""
    table = pd.DataFrame(
        rows, columns=["method", "threshold_1", "calibration_accuracy", "calibration_cost"]
    )
    common = {"measure": "entropy", "exit_rule": "below", "accuracy": 0.5, "macs": 1.0}
    common |= {"share_1": 0.25, "share_2": 0.75, "target_kind": "drop", "target": 0.1}
    return table.assign(**common, chosen=np.arange(len(table)) == chosen)


FULL = ("full_network", -np.inf, 0.9, 10.0)


def test_policies_along_the_front_with_the_chosen_one_and_the_full_network():
    table = points(
        ("a", 0.5, 0.80, 5.0),
        ("a", 0.1, 0.85, 8.0),
        ("a", 0.9, 0.60, 1.0),
        ("a", 0.8, 0.65, 2.0),
        ("a", 0.7, 0.70, 3.0),
        # Worse at a higher cost: not on the front.
        ("b", 0.6, 0.55, 4.0),
        # The same as others; one of them the chosen one.
        ("b", 0.5, 0.80, 5.0),
        ("b", 0.9, 0.60, 1.0),
        FULL,
    )
    found = handful(table, 3)
    assert found.kind.tolist() == ["policy", "policy", "chosen policy", "policy", "full network"]
    # Of the costs 1, 2, 3 and 8, both ends and one between them.
    assert found.calibration_cost.tolist() == [1.0, 3.0, 5.0, 8.0, 10.0]
    assert handful(table, 0).kind.tolist() == ["chosen policy", "full network"]
    assert len(handful(table, 100)) == 6


def test_a_chosen_full_network_is_timed_as_a_policy_too():
    found = handful(points(("a", 0.5, 0.8, 5.0), FULL, chosen=1), 4)
    assert sorted(found.kind) == ["chosen policy", "full network", "policy"]


def test_targets_without_a_policy_are_left_out():
    table = points(("a", 0.5, 0.8, 5.0), ("a", np.nan, np.nan, np.nan), FULL)
    table["infeasible"] = [None, "no policy", None]
    assert len(handful(table, 4)) == 2


def test_every_sample_goes_through_all_ways_in_turns(monkeypatch):
    order = []
    ways = [lambda batches, name=name: order.append(name + str(batches[0])) for name in "ab"]
    monkeypatch.setattr(latency, "WARM", 0)
    monkeypatch.setattr(latency, "ROUNDS", 2)
    monkeypatch.setattr(latency, "until_steady", lambda measure, n: [measure(k) for k in range(n)])
    time_singles(ways, [1, 2, 3], REFERENCE)
    assert " ".join(order) == "a1 b1 b2 a2 a3 b3 b1 a1 a2 b2 b3 a3"


def test_percentiles_are_over_samples_and_medians_over_rounds(monkeypatch):
    taken = iter([*range(1, 102), *range(2, 203, 2), *range(1, 102)])
    monkeypatch.setattr(latency, "WARM", 0)
    monkeypatch.setattr(latency, "milliseconds", lambda way, single, engine: next(taken))
    monkeypatch.setattr(
        latency, "until_steady", lambda measure, n: np.array([measure(k) for k in range(n)])
    )
    rounds = time_singles([print], [*range(101)], REFERENCE)
    # Of 1 to 101, half are at most 51, 95 % at most 96; in the second round of twice that.
    assert rounds.tolist() == [[[51, 96, 100, 51]], [[102, 192, 200, 102]], [[51, 96, 100, 51]]]
    found = columns(rounds)
    assert found["p95_ms"].tolist() == [96]
    assert found["mean_ms"].tolist() == [51]
    assert (found["p95_ms_low"].tolist(), found["p95_ms_high"].tolist()) == ([96], [144])


@pytest.mark.parametrize("chosen", [0, 2])
def test_the_table_of_a_network(chosen):
    table = points(("a", 0.5, 0.8, 5.0), ("a", 0.7, 0.7, 3.0), FULL, chosen=chosen)
    network, images = SmallNetwork(exits=2).eval(), random_images(20)
    ways, own = handful(table, 4), [ExitCriterion()]
    costs = replace(make_costs(2), batch_sizes=np.array([1.0]))
    logits = all_exits(network, images, 20, REFERENCE)
    records = from_logits(np.arange(20), np.arange(20) % 4, logits, {})
    found = latency_table(network, ways, own, records, images, costs, 8, REFERENCE)
    assert len(found) == (3 if chosen == 0 else 4)
    assert (found.samples == 8).all()
    assert (found.rounds >= latency.ROUNDS).all()
    assert (found.p50_ms > 0).all()
    assert ((found.p50_ms <= found.p95_ms) & (found.p95_ms <= found.p99_ms)).all()
    # Stages of 1 and 2 ms, heads of a tenth: all timed samples pay for the first, some for both.
    taken = records.uncertainty[timing.spread_starts(20, 1, 8), 0]
    early = [(taken < threshold).mean() for threshold in ways.threshold_1]
    assert found.early.tolist() == early
    expected = [1.1 + (1 - share) * 2.2 for share in early]
    # Under `never` the first head does not run.
    expected = np.where(ways.threshold_1 > -np.inf, expected, 1.0 + 2.2)
    assert found.predicted_ms.tolist() == pytest.approx(expected.tolist())
    without = latency_table(network, ways, own, records, images, make_costs(2), 8, REFERENCE)
    assert without.predicted_ms.isna().all()
