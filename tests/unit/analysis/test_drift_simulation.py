"""Drift, simulated on made-up records: which samples find thresholds, and which measure them."""

from dataclasses import replace

import numpy as np
import pytest

from early_exit.analysis.drift_simulation import BUDGET, WAYS, simulate_drift
from early_exit.analysis.selection import Criterion, choose, with_full_network
from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.recalibrate import relabelled
from early_exit.calibration.shares import keep_shares
from early_exit.calibration.targets import Target
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.description import describe
from early_exit.policy.operating_point import simulate
from early_exit.policy.policy import Policy, full_network
from early_exit.records.table import from_logits
from helpers import make_costs, make_records

COSTS = make_costs()


@pytest.fixture(scope="module")
def content():
    calibration = make_records(samples=600, seed=1)
    points = calibrate("uniform", calibration, COSTS, [Target("macs_share", 0.6)], ExitCriterion())
    return describe(choose(points, Criterion("ratio")), calibration, COSTS, {})


def less_certain(records):
    logits = np.float32(0.6) * records.logits
    return from_logits(records.index, records.label, logits, records.provenance)


def test_each_way_is_measured_on_the_other_half(content):
    clean = make_records(samples=400, seed=2)
    worse = less_certain(clean)
    table = simulate_drift(content, clean, {("noise", 1): worse}, COSTS, [50, 200, 900], 1)
    policy = Policy.from_json(content["policy"])
    order = np.random.default_rng(0).permutation(400)
    given, measured = worse.select(order[:200]), worse.select(order[200:])
    shares = content["calibration"]["exit_shares"]
    expected = {
        ("old", 0): policy,
        ("shares_kept", 0): keep_shares(policy, shares, given.uncertainty),
        ("relabelled", 50): relabelled(content, given.select(np.arange(50)), COSTS)[0],
        ("relabelled", 200): relabelled(content, given, COSTS)[0],
        ("full_network", 0): policy.full_network,
    }
    rows = table[table.kind == "noise"].set_index(["way", "labels"])
    assert set(rows.index) == {*expected, ("tracked", 0)}
    full = simulate(policy.full_network, measured, COSTS)
    for key, own in expected.items():
        point = simulate(own, measured, COSTS)
        found = rows.loc[key]
        assert found.accuracy == pytest.approx(point.accuracy), key
        assert found.macs == pytest.approx(point.macs)
        assert found.cost_share == pytest.approx(point.macs / full.macs)
        assert [found.share_1, found.share_2, found.share_3] == pytest.approx(point.exit_shares)
    assert (table.samples == 200).all()
    # A budget is its target already.
    assert set(table.way) == {*WAYS} - {BUDGET}


def test_shares_and_cost_are_kept_without_labels_under_drift(content):
    clean = make_records(samples=1000, seed=2)
    table = simulate_drift(content, clean, {("blur", 1): less_certain(clean)}, COSTS, [], 8)
    rows = table[table.kind == "blur"].set_index("way")
    before = content["calibration"]["macs"]
    assert rows.macs["old"] > 1.2 * before
    for way in ("shares_kept", "tracked"):
        assert rows.macs[way] == pytest.approx(before, rel=0.03)
        found = rows.loc[way, ["share_1", "share_2", "share_3"]].to_numpy(float)
        np.testing.assert_allclose(found, content["calibration"]["exit_shares"], atol=0.03)
    assert (table.draws == 8).all()
    assert table.accuracy_sd.between(0.001, 0.1).all()
    assert (rows.cost_share_sd["full_network"], rows.cost_share["full_network"]) == (0, 1)


def test_without_drift_all_ways_do_alike(content):
    clean = make_records(samples=1000, seed=4)
    table = simulate_drift(content, clean, {}, COSTS, [], 4).set_index("way")
    assert (table.kind == "none").all()
    early = table.drop("full_network")
    assert np.ptp(early.accuracy) < 0.03
    assert np.ptp(early.cost_share) < 0.04


def test_labels_also_find_the_best_within_the_old_cost(content):
    """An accuracy that is out of reach sends every image through the full network."""
    clean = make_records(samples=400, seed=2)
    own = content | {"target_kind": "accuracy", "target": 0.999}
    table = simulate_drift(own, clean, {}, COSTS, [50], 3)
    assert set(table.way) == set(WAYS)
    rows = table.set_index(["way", "labels"])
    assert rows.cost_share["relabelled", 200] == 1
    budget = content["calibration"]["macs"]
    assert rows.macs["relabelled_budget", 200] == pytest.approx(budget, rel=0.05)
    certified = own | {"method": "certified"}
    table = simulate_drift(certified, clean, {}, COSTS, [50], 1)
    assert set(table.way) == {*WAYS} - {BUDGET}


def test_the_full_network_has_no_target_to_calibrate_for(content):
    clean = make_records(samples=100, seed=2)
    full = simulate(full_network(ExitCriterion(), 3), clean, COSTS)
    chosen = choose(with_full_network([], full), Criterion("ratio"))
    table = simulate_drift(describe(chosen, clean, COSTS, {}), clean, {}, COSTS, [20], 2)
    assert table.way.tolist() == ["old", "shares_kept", "tracked", "full_network"]
    assert (table.cost_share == 1).all()


def test_costs_may_be_in_milliseconds_alone(content):
    nothing = np.full(3, np.nan)
    slow = replace(COSTS, stage_macs=nothing, head_macs=nothing)
    own = content | {"target_kind": "ms_share"}
    clean = make_records(samples=200, seed=2)
    table = simulate_drift(own, clean, {}, slow, [], 2).set_index("way")
    assert table.macs.isna().all()
    assert table.cost_share["full_network"] == pytest.approx(1)
    assert table.cost_share["old"] < 0.8
