import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from early_exit.calibration.targets import Candidates, Target, label, pick
from early_exit.policy.samples import Samples
from early_exit.statistics.pareto import front
from helpers import make_costs

SAMPLES = Samples(np.zeros((10, 1)), np.ones((10, 2), bool))
COSTS = make_costs(2).in_unit("macs")
CANDIDATES = Candidates(
    np.array([[0.1], [0.2], [0.3], [0.4]]),
    np.array([9, 8, 8, 5]),
    np.array([30e6, 20e6, 18e6, 9e6]),
)


def picked(kind: str, value: float) -> float:
    return pick(CANDIDATES, SAMPLES, COSTS, Target(kind, value))[0]


def test_the_cheapest_that_is_accurate_enough():
    assert picked("accuracy", 0.8) == 0.3
    assert picked("accuracy", 0.81) == 0.1
    # The full network is correct on all ten.
    assert picked("drop", 0.2) == 0.3
    assert picked("drop", 0.05) == -np.inf


def test_the_most_accurate_within_the_budget():
    assert picked("macs", 19e6) == 0.3
    assert picked("macs", 20e6) == 0.3
    assert picked("macs", 1e9) == 0.1
    # The full network costs 32 million.
    assert picked("macs_share", 0.5) == 0.4


def test_a_setting_is_a_number_or_a_mapping():
    assert Target.parse(0.8, 0.05) == Target("accuracy", 0.8, 0.05)
    assert Target.parse({"drop": 0.01}) == Target("drop", 0.01)


def test_labels():
    assert label("accuracy", 0.8) == "0.8"
    assert label("drop", 0.01) == "drop 0.01"
    assert label("macs_share", 0.5) == "50 % of MACs"
    assert label("ms_share", 0.25) == "25 % of time"
    assert label("macs", 2e7) == "20 M MACs"
    assert label("ms", 0.5) == "0.5 ms"


@given(
    hnp.arrays(np.int64, 12, elements=st.integers(0, 4)),
    hnp.arrays(np.float64, 12, elements=st.integers(0, 4)),
)
def test_the_front_is_not_dominated(correct, cost):
    def dominated(index):
        no_worse = (correct >= correct[index]) & (cost <= cost[index])
        return (no_worse & ((correct > correct[index]) | (cost < cost[index]))).any()

    found = front(correct, cost)
    assert not any(dominated(index) for index in found)
    best = {(correct[p], cost[p]) for p in range(12) if not dominated(p)}
    assert {(correct[p], cost[p]) for p in found} == best
    assert len(found) == len(best)


def test_between_goes_in_even_steps_of_rank():
    samples = Samples(np.array([[0.1], [0.2], [0.3], [0.4]]), np.ones((4, 2), bool))
    rows = samples.between(np.array([-np.inf]), np.array([np.inf]), 4)
    assert rows[:, 0].tolist() == [-np.inf, 0.2, 0.3, 0.4, np.inf]
    assert samples.between(np.array([0.2]), np.array([0.4]), 1)[:, 0].tolist() == [0.2, 0.4]
