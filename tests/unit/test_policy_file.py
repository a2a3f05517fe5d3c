"""What policy.json says beside the policy."""

import numpy as np
import pandas as pd
import pytest

from early_exit import __version__
from early_exit.calibration import calibrate
from early_exit.files import read_table, write_table
from early_exit.operating_point import policy_of, simulate
from early_exit.policy import ExitRule, Policy
from early_exit.policy_file import describe
from early_exit.samples import Samples
from early_exit.selection import Criterion, choose, with_whole_network
from early_exit.targets import Target
from helpers import make_costs, make_records, sees

MACHINE = {"processor": "a processor", "threads": 2, "repeats": 20}
MANIFEST = {"dataset": "some", "settings": {"split_seed": 1}, "shape": [3, 2, 2], "digest": "d"}


def described(network="net", manifest=MANIFEST):
    records, costs = make_records(), make_costs()
    table = calibrate("percentile", records, costs, [Target("accuracy", 0.6)], sees())
    whole = simulate(sees(), records, costs)
    chosen = choose(with_whole_network([table], whole), Criterion("ratio"), sees())
    return describe(chosen, records, costs, MACHINE, network, manifest), records, costs


def test_it_says_all_that_is_needed():
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
    assert content["whole_network"]["accuracy"] == records.correct[:, -1].mean()
    # Stages of 10, 20 and 30 million, a last head of 3.
    assert content["whole_network"]["macs"] == 63e6
    assert content["cost"]["macs"] == costs.macs(policy).tolist()
    assert content["cost"]["processor"] == "a processor"
    assert "repeats" not in content["cost"]


def test_without_a_network_it_says_that_there_is_none():
    content, *_ = described(None, None)
    assert content["network"]["name"] is None
    assert content["data"] is None


@pytest.mark.parametrize("rule", ExitRule)
def test_a_threshold_from_the_records_survives_the_table(rule, tmp_path):
    """Nine digits are not the number: a sample whose uncertainty it was would leave elsewhere."""
    records, costs = make_records(samples=200), make_costs()
    for place in range(40):
        thresholds = records.entropy[place, :2].astype(np.float64)
        point = simulate(sees(3, rule).at(tuple(thresholds)), records, costs)
        table = pd.DataFrame([point.row()])
        write_table(tmp_path / "a.csv", table)
        read = read_table(tmp_path / "a.csv", [])
        again = policy_of(read.iloc[0], sees(3, rule))
        assert again.thresholds == tuple(thresholds)
    assert Samples.of(records, again).rule is rule
