"""Texts of the figures neither overlap nor run off them, and no error bar strikes them.

Every figure is drawn from an ordinary experiment and from odd ones, and its texts are found through
the renderer.
"""

from __future__ import annotations

import math
from functools import cache
from importlib import import_module

import pytest
from matplotlib import pyplot

from drawn import FIGURES, faults, tables_of
from early_exit.analysis.times import TIMES_DOUBTED
from early_exit.calibration.targets import Target
from early_exit.figures import style
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy

MANY = [
    *(Target("accuracy", 0.4 + 0.04 * n) for n in range(12)),
    *(Target("drop", 0.01 * (n + 1)) for n in range(12)),
    # The first three are below the cost of the first exit.
    *(Target("macs_share", 0.02 + 0.08 * n) for n in range(12)),
]
LONG = "an experiment whose name is as long as nobody would think that a name could ever be"
METHODS = ("percentile", "coordinate", "uniform", "certified_path")
DOUBT = f"{TIMES_DOUBTED}: the machine was busy"


def of_thresholds(*thresholds: float) -> Policy:
    return Policy(ExitCriterion(), thresholds)


CASES = {
    "three exits": {},
    "two exits": {"exits": 2},
    "12 exits": {"exits": 12, "methods": METHODS[:3]},
    "one target": {"targets": [Target("accuracy", 0.5)]},
    "36 targets, some out of reach": {"targets": MANY, "methods": METHODS, "chosen": 3},
    "unused exits": {
        "exits": 6,
        "samples": 200,
        "policy": of_thresholds(0.5, -math.inf, 1.0, -math.inf, -math.inf),
    },
    "all at the first exit": {"policy": of_thresholds(math.inf, math.inf)},
    "long names": {
        "experiment": LONG,
        "names": [
            f"a class ${n} <with> a name that is much too long to be shown" for n in range(9)
        ],
    },
    "many classes": {"names": [f"class {n}" for n in range(60)], "samples": 300},
    "few samples": {"samples": 12},
    "times in doubt": {"doubt": DOUBT, "methods": METHODS, "samples": 2000},
    "no images": {"images": False},
}


@pytest.fixture(autouse=True)
def _close():
    yield
    pyplot.close("all")


made = cache(lambda case: tables_of(**CASES[case]))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", FIGURES)
def test_texts_do_not_overlap_and_a_mark_means_one_thing(name, case):
    """A star is the chosen policy, a square the full network."""
    module = import_module(f"early_exit.figures.{name}")
    with style.styled():
        figure = module.draw(made(case))
        found = list(faults(figure))
        lines = [line for axes in figure.axes for line in axes.lines]
    assert not found, "\n".join(found)
    assert max(figure.get_size_inches()) <= 20
    stars = {line.get_label() for line in lines if line.get_marker() == "*"}
    assert stars <= {"chosen policy"}
    squares = {line.get_color() for line in lines if line.get_marker() == "s"}
    assert squares <= {"black", style.GREY}


def test_faults_are_found():
    with style.styled():
        figure, axes = pyplot.subplots(layout="none")
        axes.errorbar([0.5, 0.9], [0.5, 0.9], yerr=0.3)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.text(0.45, 0.6, "struck")
        axes.text(0.1, 0.1, "first text")
        axes.text(0.15, 0.11, "second text")
        axes.text(0.99, 0.1, "a text that does not end before the figure does")
        found = "\n".join(faults(figure))
    assert "'struck' is struck by an error bar" in found
    assert "'first text' overlaps 'second text'" in found
    assert "'a text that does not end before the figure does' runs off the figure" in found
    assert found.count("\n") == 2


def test_spread_is_even_and_keeps_both_ends():
    assert style.spread(5, 12) == [1, 2, 3, 4, 5]
    assert style.spread(12, 12) == list(range(1, 13))
    assert style.spread(40, 3) == [1, 20, 40]
    assert style.spread(1, 12) == [1]
    for count in range(1, 60):
        found = style.spread(count, 12)
        assert (found[0], found[-1], len(found)) == (1, count, min(count, 12))
