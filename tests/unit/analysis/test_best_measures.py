"""Of policies by several measures, those that calibration prefers."""

import numpy as np
import pandas as pd
import pytest

from early_exit.analysis.best_measures import best_measures

COLUMNS = ["method", "target_kind", "target", "measure", "accuracy", "calibration_accuracy", "cost"]
# Test accuracies, the fifth column, must play no part.
ROWS = [
    ("uniform", "accuracy", 0.9, "margin", 0.9, 0.92, 3.0),
    ("uniform", "accuracy", 0.9, "entropy", 0.1, 0.91, 2.0),
    ("uniform", "drop", 0.01, "margin", 0.1, 0.80, 0.3),
    ("uniform", "drop", 0.01, "entropy", 0.9, 0.81, 0.4),
    ("uniform", "macs_share", 0.5, "margin", 0.9, 0.80, 0.4),
    ("uniform", "macs_share", 0.5, "entropy", 0.1, 0.81, 0.5),
    # Of equal ones the first.
    ("coordinate", "macs_share", 0.5, "margin", 0.5, 0.80, 0.5),
    ("coordinate", "macs_share", 0.5, "entropy", 0.6, 0.80, 0.4),
    ("full_network", np.nan, np.nan, "margin", 0.9, 0.85, 1.0),
]


def test_the_cheapest_of_an_accuracy_and_the_most_accurate_of_a_budget():
    best = best_measures(pd.DataFrame(ROWS, columns=COLUMNS), "cost")
    assert best.index.tolist() == [1, 2, 5, 6, 8]


@pytest.mark.parametrize("chosen", [0, 3, 4, 7])
def test_the_chosen_policy_is_kept(chosen):
    table = pd.DataFrame(ROWS, columns=COLUMNS)
    best = best_measures(table.assign(chosen=table.index == chosen), "cost")
    assert best.chosen.sum() == 1
    assert len(best) == 5


def test_a_target_that_no_policy_meets_is_left_out():
    table = pd.DataFrame(ROWS, columns=COLUMNS)
    table["infeasible"] = ["too little"] * 2 + [np.nan] * 7
    assert best_measures(table, "cost").index.tolist() == [2, 5, 6, 8]
