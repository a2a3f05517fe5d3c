import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from early_exit.pareto import front
from early_exit.samples import Samples
from early_exit.targets import Candidates, Target, label, pick
from helpers import make_costs

SAMPLES = Samples(np.zeros((10, 1)), np.ones((10, 2), bool))
PRICES = make_costs(2).prices("macs")
CANDIDATES = Candidates(
    np.array([[0.1], [0.2], [0.3], [0.4]]),
    np.array([9, 8, 8, 5]),
    np.array([30e6, 20e6, 18e6, 9e6]),
)


def picked(kind: str, value: float) -> float:
    return pick(CANDIDATES, SAMPLES, PRICES, Target(kind, value))[0]


def test_the_cheapest_that_is_right_often_enough():
    assert picked("accuracy", 0.8) == 0.3
    assert picked("accuracy", 0.81) == 0.1
    # The whole network is right on all ten.
    assert picked("drop", 0.2) == 0.3
    assert picked("drop", 0.05) == -np.inf


def test_the_most_accurate_within_the_budget():
    assert picked("macs", 19e6) == 0.3
    assert picked("macs", 20e6) == 0.3
    assert picked("macs", 1e9) == 0.1
    # The whole network takes 32 million.
    assert picked("macs_share", 0.5) == 0.4


def test_a_setting_is_a_number_or_a_map():
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
def test_the_front_is_what_nothing_dominates(correct, cost):
    def dominated(place):
        no_worse = (correct >= correct[place]) & (cost <= cost[place])
        return (no_worse & ((correct > correct[place]) | (cost < cost[place]))).any()

    places = front(correct, cost)
    assert not any(dominated(place) for place in places)
    best = {(correct[p], cost[p]) for p in range(12) if not dominated(p)}
    assert {(correct[p], cost[p]) for p in places} == best
    assert len(places) == len(best)


def test_between_goes_in_even_steps_of_rank():
    samples = Samples(np.array([[0.1], [0.2], [0.3], [0.4]]), np.ones((4, 2), bool))
    rows = samples.between(np.array([-np.inf]), np.array([np.inf]), 4)
    assert rows[:, 0].tolist() == [-np.inf, 0.2, 0.3, 0.4, np.inf]
    assert samples.between(np.array([0.2]), np.array([0.4]), 1)[:, 0].tolist() == [0.2, 0.4]
