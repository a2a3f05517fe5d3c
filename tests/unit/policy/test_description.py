"""Content of policy.json besides the policy."""

import numpy as np
import pandas as pd
import pytest

from early_exit import __version__
from early_exit.analysis.selection import Criterion, choose, with_full_network
from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.targets import Target
from early_exit.io.files import read_table, write_table
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.description import describe
from early_exit.policy.operating_point import policy_of, simulate
from early_exit.policy.policy import Policy, full_network
from early_exit.policy.samples import Samples
from helpers import make_costs, make_records

MACHINE = {"processor": "a processor", "threads": 2, "repeats": 20}
MANIFEST = {"dataset": "some", "settings": {"split_seed": 1}, "shape": [3, 2, 2], "digest": "d"}


def described(network="net", manifest=MANIFEST):
    records, costs = make_records(), make_costs()
    table = calibrate("percentile", records, costs, [Target("accuracy", 0.6)], ExitCriterion())
    whole = simulate(full_network(ExitCriterion(), 3), records, costs)
    chosen = choose(with_full_network([table], whole), Criterion("ratio"))
    return describe(chosen, records, costs, MACHINE, network, manifest), records, costs


def test_it_has_all_keys():
    content, records, costs = described()
    policy = Policy.from_json(content["policy"])
    point = simulate(policy, records, costs)
    assert content["version"] == __version__
    assert content["network"] == {"name": "net", "exits": 3, "classes": 4}
    assert content["data"]["settings"] == {"split_seed": 1}
    assert content["data"]["mean"] is None
    assert content["calibration"]["samples"] == 60
    assert content["calibration"]["accuracy"] == pytest.approx(point.accuracy)
    assert content["calibration"]["exit_shares"] == pytest.approx(point.exit_shares)
    assert content["full_network"]["accuracy"] == records.correct[:, -1].mean()
    # Stages of 10, 20 and 30 million, a last head of 3.
    assert content["full_network"]["macs"] == 63e6
    assert content["cost"]["macs"] == costs.macs(policy.heads_run).tolist()
    assert content["cost"]["processor"] == "a processor"
    assert "repeats" not in content["cost"]


def test_without_a_network_its_keys_are_null():
    content, *_ = described(None, None)
    assert content["network"]["name"] is None
    assert content["data"] is None


@pytest.mark.parametrize("rule", ExitRule)
def test_a_threshold_from_the_records_survives_the_table(rule, tmp_path):
    """Nine digits are not exact: a sample with that uncertainty would exit elsewhere."""
    records, costs = make_records(samples=200), make_costs()
    for place in range(40):
        thresholds = records.uncertainty[place, :2].astype(np.float64)
        point = simulate(Policy(ExitCriterion(rule=rule), tuple(thresholds)), records, costs)
        table = pd.DataFrame([point.row()])
        write_table(tmp_path / "a.csv", table)
        read = read_table(tmp_path / "a.csv", [])
        again = policy_of(read.iloc[0])
        assert again.thresholds == tuple(thresholds)
    assert Samples.of(records, again.criterion).rule is rule
