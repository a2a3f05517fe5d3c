import numpy as np
import pandas as pd
import pytest

from early_exit.analysis.selection import Criterion, choose, select, with_full_network
from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.targets import Target
from early_exit.errors import InputError
from early_exit.io.files import read_table, write_table
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.operating_point import policy_of, simulate
from early_exit.policy.policy import Policy, full_network
from early_exit.records.table import from_external
from helpers import make_costs, make_records

SAMPLES = 1000
CANDIDATES = pd.DataFrame(
    {
        "method": ["percentile"] * 3 + ["full_network"],
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


def test_ratio_favours_exiting_at_once():
    assert target(Criterion("ratio")) == 0.6


def test_fastest_meets_the_floor():
    assert target(Criterion("fastest", accuracy_floor=0.65)) == 0.7
    assert target(Criterion("fastest", accuracy_floor=0.7)) == 0.7


def test_fastest_with_confidence_needs_a_margin():
    # 700 of 1000 are at least 0.68 with confidence 0.9, but not at least 0.695.
    assert target(Criterion("fastest", accuracy_floor=0.68, confidence=0.9)) == 0.7
    assert target(Criterion("fastest", accuracy_floor=0.695, confidence=0.9)) == 0.8


def test_the_full_network_is_a_candidate():
    assert np.isnan(target(Criterion("fastest", accuracy_floor=0.82)))


def test_most_accurate_meets_the_budget():
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
def test_a_limit_that_no_policy_meets_names_the_nearest(criterion, message):
    with pytest.raises(InputError, match=message):
        select(CANDIDATES, criterion)


def test_the_chosen_policy_can_be_read_back():
    chosen = choose(CANDIDATES, Criterion("ratio"))
    assert Policy.from_json(chosen["policy"]) == Policy(ExitCriterion(), (np.inf,))
    assert chosen["target"] == 0.6
    assert (chosen["target_kind"], chosen["certificate"]) == ("accuracy", None)
    whole = choose(CANDIDATES, Criterion("fastest", accuracy_floor=0.82))
    assert (whole["target_kind"], whole["target"]) == (None, None)


@pytest.mark.parametrize("method", ["uniform", "certified"])
def test_thresholds_on_external_uncertainties_are_exact_in_the_table(tmp_path, method):
    """Tenths are inexact in single precision, and samples tied with a threshold do not exit."""
    rng = np.random.default_rng(0)
    uncertainty = rng.integers(0, 11, (400, 3)) / 10
    records = from_external(np.arange(400), uncertainty, rng.random((400, 3)) > uncertainty / 2, {})
    costs = make_costs()
    criterion = ExitCriterion("external")
    table = calibrate(method, records, costs, [Target("accuracy", 0.8)], criterion)
    write_table(tmp_path / "points.csv", table)
    for row in (table.iloc[0], read_table(tmp_path / "points.csv", []).iloc[0]):
        again = simulate(policy_of(row), records, costs)
        assert (again.correct, *again.exit_shares) == (
            row.correct,
            row.share_1,
            row.share_2,
            row.share_3,
        )


def test_a_certificate_has_the_sum_of_the_eligible_deltas():
    records, costs = make_records(samples=4000), make_costs()
    targets = [Target("drop", bound, 0.1) for bound in (0.05, 0.1, 0.2)]
    tables = [
        calibrate(m, records, costs, targets, ExitCriterion())
        for m in ("certified", "certified_path")
    ]
    candidates = with_full_network(
        tables, simulate(full_network(ExitCriterion(), 3), records, costs)
    )

    def chosen(**limits):
        return choose(candidates, Criterion(**limits))

    # Two methods; a bound of 0.05 alone, or 0.1 too.
    for bound, delta in ((0.05, 0.2), (0.1, 0.4)):
        found = chosen(name="certified", certified_bound=bound)
        assert found["certificate"]["delta"] == pytest.approx(delta)
        assert f"(issued and false with probability {delta:g} at most)" in found["why"]
    # By another criterion all six are eligible.
    fastest = chosen(name="fastest", accuracy_floor=0.0)
    assert fastest["certificate"]["delta"] == pytest.approx(0.6)
    many = with_full_network(tables * 3, simulate(full_network(ExitCriterion(), 3), records, costs))
    with pytest.raises(InputError, match=r"deltas of the eligible certificates add up to 1\.2"):
        choose(many, Criterion("certified", certified_bound=0.1))


def test_policies_are_read_back_from_the_table():
    records, costs, rule = make_records(exits=12), make_costs(12), ExitRule.ABOVE
    targets = [Target("accuracy", 0.5), Target("accuracy", 0.9)]
    table = calibrate("percentile", records, costs, targets, ExitCriterion(rule=rule))
    whole = simulate(full_network(ExitCriterion(rule=rule), 12), records, costs)
    rows = with_full_network([table], whole)
    # Twelve exits: thresholds are ordered by number, not by name.
    for _, row in rows.iterrows():
        again = simulate(policy_of(row), records, costs)
        assert again.correct == row.correct
    assert policy_of(rows.iloc[-1]) == whole.policy


def test_without_times_macs_replace_them():
    table = CANDIDATES.assign(ms_per_sample=np.nan)
    chosen, why = select(table, Criterion("fastest", accuracy_floor=0.65))
    assert (chosen.target, why) == (
        0.7,
        "policy with the fewest MACs that is at least 0.65 accurate",
    )
    million = table.assign(macs=1e6 * table.macs)
    assert "per million MACs" in select(million, Criterion("ratio"))[1]
    assert "per billion MACs" in select(million.assign(macs=1e9), Criterion("ratio"))[1]
    # Costs of external records may be relative.
    relative = select(table, Criterion("ratio", unit="relative"))[1]
    assert "per unit of cost" in relative
    with pytest.raises(InputError, match="latency_budget_ms: there are no costs in ms"):
        select(table, Criterion("most_accurate", latency_budget_ms=3.0))
    found = choose(table, Criterion("fastest", accuracy_floor=0.65))["calibration"]
    assert found == {"accuracy": 0.7, "macs": 2.0, "ms_per_sample": None}


def test_without_macs_times_decide():
    table = CANDIDATES.assign(macs=np.nan)
    found = choose(table, Criterion("fastest", accuracy_floor=0.65))
    assert found["calibration"] == {"accuracy": 0.7, "macs": None, "ms_per_sample": 2.0}


def with_unreached(**targets) -> list[pd.DataFrame]:
    asked = [Target(kind, value) for kind, values in targets.items() for value in values]
    methods = ("uniform", "exact_grid", "percentile")
    return [calibrate(m, make_records(), make_costs(), asked, ExitCriterion()) for m in methods]


def test_a_budget_out_of_reach_does_not_affect_others(tmp_path):
    """Through files, as in the workflow."""
    whole = simulate(full_network(ExitCriterion(), 3), make_records(), make_costs())
    tables = []
    for number, table in enumerate(with_unreached(macs_share=[0.001, 0.6], ms=[1e-9])):
        path = tmp_path / f"{number}.csv"
        write_table(path, table)
        tables.append(read_table(path, []))
        assert tables[-1].infeasible.notna().tolist() == [True, False, True]
    assert tables[0].infeasible[2].startswith("no policy takes at most 1e-09 ms: the first exit")
    chosen = choose(with_full_network(tables, whole), Criterion("ratio"))
    assert chosen["target"] == 0.6
    assert ", of 4 candidates on 60 samples" in chosen["why"]


def test_budgets_that_are_all_out_of_reach_are_an_error():
    whole = simulate(full_network(ExitCriterion(), 3), make_records(), make_costs())
    candidates = with_full_network(with_unreached(macs_share=[0.001, 0.01]), whole)
    message = (
        r"^calibration\.targets: no policy takes at most 1 % of MACs: the first exit takes 17\.5 %"
        r" of MACs, and no target is in reach; raise the budgets$"
    )
    with pytest.raises(InputError, match=message):
        choose(candidates, Criterion("ratio"))
