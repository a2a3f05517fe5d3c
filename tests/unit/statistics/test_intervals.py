import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from early_exit.errors import InputError
from early_exit.statistics.intervals import wilson_interval, wilson_lower_bound


@given(trials=st.integers(1, 10_000), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_equals_scipy(trials, share, confidence):
    successes = round(share * trials)
    expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    found = wilson_interval(successes, trials, confidence)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found[0] <= successes / trials <= found[1]


def test_the_one_sided_bound_puts_all_doubt_on_one_side():
    assert wilson_lower_bound(80, 100, 0.95) == pytest.approx(wilson_interval(80, 100, 0.90)[0])
    # As likely above as below: the share itself, pulled nowhere.
    assert wilson_lower_bound(80, 100, 0.5) == pytest.approx(0.8)


def test_no_trials_give_the_full_interval():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("arguments", [(-1, 10, 0.9), (11, 10, 0.9), (5, 10, 1.0)])
def test_impossible_counts_are_refused(arguments):
    with pytest.raises(InputError):
        wilson_interval(*arguments)
