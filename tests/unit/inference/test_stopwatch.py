"""Rounds of measurements, by a clock of the tests."""

import numpy as np
import pytest

from early_exit.inference import stopwatch
from early_exit.inference.engine import REFERENCE
from early_exit.inference.stopwatch import in_turns, one_turn, until_steady
from early_exit.inference.timing import Timing


@pytest.mark.parametrize(
    ("times", "rounds"),
    [
        # Quartiles of 1, 1, 1.05 are 1 and 1.025: 2.5 % of the median apart.
        ([1, 1, 1.05, 9], 3),
        # Those of 1, 1, 1.5 are 25 % apart; with more rounds of 1 they are both 1.
        ([1, 1, 1.5, 1, 1, 9], 5),
        # Never steady: three times as many rounds, and no more.
        ([1, 2] * 10, 9),
        ([0, 0, 0, 9], 3),
    ],
)
def test_rounds_are_added_while_times_vary(times, rounds):
    found = until_steady(lambda turn: np.array([1.0, times[turn]]), 3)
    assert found.shape == (rounds, 2)
    assert found[:, 1].tolist() == times[:rounds]


def test_no_round_is_added_when_they_have_taken_long(monkeypatch):
    monkeypatch.setattr(stopwatch, "SECONDS", -1.0)
    assert len(until_steady(lambda turn: np.array([1.0 + turn]), 3)) == 3


def test_each_turn_begins_with_another_way():
    order = []
    ways = [lambda name=name: order.append(name) for name in "abc"]
    for turn in range(3):
        assert one_turn(ways, turn, REFERENCE).shape == (3,)
    assert "".join(order) == "abc" + "cab" + "bca"


def test_the_time_of_several_rounds_is_the_median(monkeypatch):
    clock = iter([1.0, 10.0, 9.0, 1.0, 1.0, 11.0])
    monkeypatch.setattr(stopwatch, "milliseconds", lambda way, engine: next(clock))
    monkeypatch.setattr(stopwatch, "WIDE", 100)
    # In the second round the other way is first.
    assert in_turns([print, print], 3, REFERENCE).tolist() == [1.0, 10.0]


def test_medians_and_quartiles_by_hand():
    rounds = np.array([[4.0, 5.0, 2.0, 1.0], [6.0, 5.0, 2.0, 1.0], [5.0, 9.0, 1.0, 1.0]])
    timing = Timing(rounds)
    assert timing.medians == {"full_network": 5, "all_heads": 5, "policy": 2, "ideal": 1}
    # Of 4, 5, 6 halfway between neighbours; speed-ups are 2, 3 and 5.
    assert timing.quartiles["full_network"] == [4.5, 5.5]
    assert timing.quartiles["policy"] == [1.5, 2.0]
    assert timing.quartiles["speedup"] == [2.5, 4.0]
