import numpy as np
import pandas as pd
import pytest

from early_exit.calibration import calibrate
from early_exit.errors import InputError
from early_exit.files import read_table, write_table
from early_exit.operating_point import policy_of, simulate
from early_exit.policy import ExitRule, Policy, whole_network
from early_exit.records import from_given
from early_exit.selection import Criterion, choose, select, with_whole_network
from early_exit.targets import Target
from helpers import make_costs, make_records, sees

SAMPLES = 1000
CANDIDATES = pd.DataFrame(
    {
        "method": ["percentile"] * 3 + ["whole_network"],
        "target_kind": ["accuracy"] * 3 + [np.nan],
        "target": [0.6, 0.7, 0.8, np.nan],
        "exit_rule": "below",
        "measure": "entropy",
        "threshold_1": [np.inf, 0.5, 0.1, -np.inf],
        "samples": SAMPLES,
        "correct": [600, 700, 800, 840],
        "accuracy": [0.6, 0.7, 0.8, 0.84],
        "macs": [1.0, 2.0, 3.0, 4.0],
        "ms_per_sample": [1.0, 2.0, 3.0, 4.0],
    }
)


def target(criterion: Criterion) -> float:
    return select(CANDIDATES, criterion)[0]["target"]


def test_ratio_rewards_leaving_at_once():
    assert target(Criterion("ratio")) == 0.6


def test_fastest_keeps_to_the_floor():
    assert target(Criterion("fastest", accuracy_floor=0.65)) == 0.7
    assert target(Criterion("fastest", accuracy_floor=0.7)) == 0.7


def test_fastest_with_confidence_wants_a_margin():
    # 700 of 1000 are at least 0.68 with confidence 0.9, but not at least 0.695.
    assert target(Criterion("fastest", accuracy_floor=0.68, confidence=0.9)) == 0.7
    assert target(Criterion("fastest", accuracy_floor=0.695, confidence=0.9)) == 0.8


def test_the_whole_network_is_a_candidate():
    assert np.isnan(target(Criterion("fastest", accuracy_floor=0.82)))


def test_most_accurate_keeps_to_the_budget():
    assert target(Criterion("most_accurate", latency_budget_ms=3.0)) == 0.8
    assert target(Criterion("most_accurate", latency_budget_ms=2.9)) == 0.7


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (
            Criterion("fastest", accuracy_floor=0.9),
            r"accuracy_floor.*0\.9.*best is 0\.84.*measured 0\.84",
        ),
        (Criterion("most_accurate", latency_budget_ms=0.5), r"latency_budget_ms.*0\.5.*takes 1 ms"),
    ],
)
def test_a_limit_that_nothing_keeps_names_the_nearest(criterion, message):
    with pytest.raises(InputError, match=message):
        select(CANDIDATES, criterion)


def test_the_chosen_one_reads_back_as_a_policy():
    chosen = choose(CANDIDATES, Criterion("ratio"), sees(2))
    assert Policy.from_json(chosen["policy"]) == Policy("entropy", ExitRule.BELOW, (np.inf,))
    assert chosen["target"] == 0.6
    assert (chosen["target_kind"], chosen["certificate"]) == ("accuracy", None)
    whole = choose(CANDIDATES, Criterion("fastest", accuracy_floor=0.82), sees(2))
    assert (whole["target_kind"], whole["target"]) == (None, None)


@pytest.mark.parametrize("method", ["uniform", "certified"])
def test_a_given_uncertainty_s_threshold_is_that_very_number_again(tmp_path, method):
    """Tenths are none in single precision, and whoever is tied with a threshold stays."""
    rng = np.random.default_rng(0)
    uncertainty = rng.integers(0, 11, (400, 3)) / 10
    records = from_given(np.arange(400), uncertainty, rng.random((400, 3)) > uncertainty / 2, {})
    costs = make_costs()
    seen = whole_network("given", ExitRule.BELOW, 3)
    table = calibrate(method, records, costs, [Target("accuracy", 0.8)], seen)
    write_table(tmp_path / "points.csv", table)
    for row in (table.iloc[0], read_table(tmp_path / "points.csv", []).iloc[0]):
        again = simulate(policy_of(row, seen), records, costs)
        assert (again.correct, *again.exit_shares) == (
            row.correct,
            row.share_1,
            row.share_2,
            row.share_3,
        )


def test_a_certificate_has_the_deltas_of_all_that_could_be_chosen():
    records, costs = make_records(samples=4000), make_costs()
    targets = [Target("drop", bound, 0.1) for bound in (0.05, 0.1, 0.2)]
    tables = [
        calibrate(m, records, costs, targets, sees()) for m in ("certified", "certified_path")
    ]
    candidates = with_whole_network(tables, simulate(sees(), records, costs))

    def chosen(**limits):
        return choose(candidates, Criterion(**limits), sees())

    # Two methods; a bound of 0.05 alone, or 0.1 too.
    for bound, delta in ((0.05, 0.2), (0.1, 0.4)):
        found = chosen(name="certified", certified_bound=bound)
        assert found["certificate"]["delta"] == pytest.approx(delta)
        assert f"with probability {1 - delta:g}" in found["why"]
    # By another criterion any of the six could have been.
    fastest = chosen(name="fastest", accuracy_floor=0.0)
    assert fastest["certificate"]["delta"] == pytest.approx(0.6)
    many = with_whole_network(tables * 3, simulate(sees(), records, costs))
    with pytest.raises(InputError, match=r"deltas add up to 1\.2"):
        choose(many, Criterion("certified", certified_bound=0.1), sees())


def test_policies_survive_the_table():
    records, costs, rule = make_records(exits=12), make_costs(12), ExitRule.ABOVE
    targets = [Target("accuracy", 0.5), Target("accuracy", 0.9)]
    table = calibrate("percentile", records, costs, targets, sees(12, rule))
    whole = simulate(sees(12, rule), records, costs)
    rows = with_whole_network([table], whole)
    # Twelve exits: the thresholds must come back by number, not by the order of their names.
    for _, row in rows.iterrows():
        again = simulate(policy_of(row, whole.policy), records, costs)
        assert again.correct == row.correct
    assert policy_of(rows.iloc[-1], whole.policy) == whole.policy


def test_without_times_macs_stand_for_them():
    table = CANDIDATES.assign(ms_per_sample=np.nan)
    chosen, why = select(table, Criterion("fastest", accuracy_floor=0.65))
    assert (chosen.target, why) == (0.7, "cheapest in MACs that is at least 0.65 accurate")
    assert "per million MACs" in select(table, Criterion("ratio"))[1]
    with pytest.raises(InputError, match="latency_budget_ms: there are no prices in ms"):
        select(table, Criterion("most_accurate", latency_budget_ms=3.0))
    sees_one = Policy("entropy", ExitRule.BELOW, (0.0,))
    found = choose(table, Criterion("fastest", accuracy_floor=0.65), sees_one)["calibration"]
    assert found == {"accuracy": 0.7, "macs": 2.0, "ms_per_sample": None}


def test_without_macs_times_decide_and_macs_stay_empty():
    sees_one = Policy("entropy", ExitRule.BELOW, (0.0,))
    table = CANDIDATES.assign(macs=np.nan)
    found = choose(table, Criterion("fastest", accuracy_floor=0.65), sees_one)
    assert found["calibration"] == {"accuracy": 0.7, "macs": None, "ms_per_sample": 2.0}
