"""Samples: counting by exit, and cuts that keep tied samples together."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from early_exit.policy.samples import Samples


def drawn(seed: int, samples: int = 40, exits: int = 4) -> Samples:
    rng = np.random.default_rng(seed)
    uncertainty = rng.integers(0, 6, (samples, exits - 1)) / 5
    return Samples(uncertainty, rng.random((samples, exits)) < 0.5)


@given(seed=st.integers(0, 2**16), drawn_at=st.integers(0, 2**16))
def test_counts_are_those_of_the_exits_taken(seed, drawn_at):
    samples = drawn(seed)
    values = [-np.inf, 0.0, 0.2, 0.5, 1.0, np.inf, np.nan]
    thresholds = np.random.default_rng(drawn_at).choice(values, 3)
    correct, counts = samples.counted(thresholds)
    taken = samples.taken(thresholds)
    assert correct == samples.right(taken).sum()
    np.testing.assert_array_equal(counts, np.bincount(taken, minlength=4))


@given(seed=st.integers(0, 2**16), count=st.integers(0, 45))
def test_a_cut_is_the_least_uncertainty_that_continues(seed, count):
    samples = drawn(seed)
    rows = samples.order[:, 1][samples.correct[:, 0][samples.order[:, 1]]]
    ordered = samples.uncertainty[rows, 1]
    if count == 0:
        expected = -np.inf
    else:
        above = ordered[ordered > ordered[min(count, len(rows)) - 1]] if len(rows) else ordered
        expected = above[0] if len(above) and count < len(rows) else np.inf
    assert samples.cut(1, rows, count) == expected


def test_the_order_and_the_ordered_values():
    samples = drawn(0)
    np.testing.assert_array_equal(
        samples.order, np.argsort(samples.uncertainty, axis=0, kind="stable")
    )
    np.testing.assert_array_equal(samples.ordered, np.sort(samples.uncertainty, axis=0).T)


def test_a_subset_is_the_same_each_time():
    samples = drawn(0)
    assert samples.subset(40) is samples
    first, again = samples.subset(10), samples.subset(10)
    assert len(first) == 10
    np.testing.assert_array_equal(first.uncertainty, again.uncertainty)
