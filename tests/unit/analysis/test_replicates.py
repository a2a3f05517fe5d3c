import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from early_exit.analysis.replicates import gather
from early_exit.errors import InputError
from early_exit.statistics.intervals import t_interval


def summary(*accuracy: float, selected: float = 0.8, macs: float = 5e6, speedup: float = 2.0):
    chosen = {"accuracy": selected, "macs": macs, "speedup": speedup}
    return {"exits": len(accuracy), "per_exit_accuracy": list(accuracy), "selected": chosen}


def test_the_interval_of_three_values_by_hand():
    # Mean 2, deviation 1, t of 2 degrees of freedom 4.302653.
    low, high = t_interval(np.array([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), rel=1e-6)


def test_the_interval_has_its_nominal_coverage():
    rng = np.random.default_rng(0)
    intervals = [t_interval(rng.normal(3.0, 2.0, 5), 0.9) for _ in range(2000)]
    covered = np.mean([low <= 3.0 <= high for low, high in intervals])
    assert covered == pytest.approx(0.9, abs=0.02)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=9), st.floats(-5, 5))
def test_an_interval_shifts_with_its_values_and_contains_their_mean(values, shift):
    low, high = t_interval(np.array(values))
    assert low <= np.mean(values) + 1e-12
    assert np.mean(values) - 1e-12 <= high
    moved = t_interval(np.array(values) + shift)
    assert moved == pytest.approx((low + shift, high + shift), abs=1e-9)


def test_gather():
    table = gather({0: summary(0.5, 0.7, speedup=2.0), 1: summary(0.6, 0.9, speedup=4.0)})
    assert table.columns.tolist() == ["quantity", "mean", "sd", "low", "high", "seed_0", "seed_1"]
    rows = table.set_index("quantity")
    chosen = ["selected_accuracy", "selected_macs", "selected_speedup"]
    assert rows.index.tolist() == ["accuracy_1", "accuracy_2", *chosen]
    assert rows.loc["accuracy_2"].tolist()[:2] == pytest.approx([0.8, 0.02**0.5])
    assert rows.loc["selected_speedup", ["seed_0", "seed_1"]].tolist() == [2.0, 4.0]
    # Equal values give an interval of width 0.
    assert rows.loc["selected_macs", ["low", "high"]].tolist() == [5e6, 5e6]


def test_one_replicate_has_no_interval():
    with pytest.raises(InputError, match="1 replicates; run at least 2"):
        gather({0: summary(0.5)})


def test_replicates_of_different_networks_are_an_error():
    with pytest.raises(InputError, match=r"with \[1, 2\] exits \(@0 has 1, @1 has 2\); del"):
        gather({0: summary(0.5), 1: summary(0.5, 0.6)})
