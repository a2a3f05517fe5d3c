"""Thresholds that keep exit shares: by hand, with ties, on the same records, on a stream."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from early_exit.calibration.shares import QuantileTracker, keep_shares
from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.policy import Policy, full_network
from helpers import make_records, policies

NEVER, ALWAYS = -np.inf, np.inf


def shares_of(policy: Policy, uncertainty: np.ndarray) -> np.ndarray:
    taken = policy.exits_taken(uncertainty)
    return np.bincount(taken, minlength=policy.exits) / len(taken)


def test_by_hand():
    """Eight samples: two are to exit at the first exit, three at the second."""
    policy = Policy(ExitCriterion(), (0.1, 0.1))
    first = [0.5, 0.9, 0.7, 0.3, 0.8, 0.6, 0.4, 1.0]
    # 0.3 and 0.4 exit; of the others 0.15, 0.2 and 0.25 do at the second exit.
    second = [0.30, 0.15, 0.35, 0.01, 0.25, 0.40, 0.02, 0.20]
    uncertainty = np.array([first, second, [0.0] * 8]).T
    kept = keep_shares(policy, [0.25, 0.375, 0.375], uncertainty)
    assert kept == Policy(ExitCriterion(), (0.5, 0.30))
    assert shares_of(kept, uncertainty).tolist() == [0.25, 0.375, 0.375]


def test_the_rule_above_is_the_same_turned():
    uncertainty = np.array([[0.5, 0.0], [0.9, 0.0], [0.7, 0.0], [0.8, 0.0]])
    policy = Policy(ExitCriterion(rule=ExitRule.ABOVE), (2.0,))
    kept = keep_shares(policy, [0.25, 0.75], uncertainty)
    assert kept.thresholds == (0.8,)
    assert kept.exits_taken(uncertainty).tolist() == [1, 0, 1, 1]


def test_switched_off_exits_stay_off_and_no_other_is_switched_off():
    uncertainty = np.random.default_rng(0).random((50, 4))
    policy = Policy(ExitCriterion(), (0.2, NEVER, 0.3))
    kept = keep_shares(policy, [0.0, 0.0, 0.5, 0.5], uncertainty)
    assert kept.heads_run == policy.heads_run == (True, False, True, True)
    # No sample exits at the first, whose head runs as before.
    assert kept.thresholds[0] == uncertainty[:, 0].min()
    assert shares_of(kept, uncertainty).tolist() == [0, 0, 0.5, 0.5]
    nothing = full_network(ExitCriterion(), 4)
    assert keep_shares(nothing, [0, 0, 0, 1], uncertainty) == nothing


def test_the_threshold_of_an_exit_that_no_sample_reaches_is_kept():
    policy = Policy(ExitCriterion(), (ALWAYS, 0.3))
    uncertainty = np.random.default_rng(0).random((20, 3))
    assert keep_shares(policy, [1.0, 0.0, 0.0], uncertainty) == policy


@pytest.mark.parametrize(
    ("share", "exited"), [(0.1, 0), (0.3, 0), (0.4, 0.6), (0.7, 0.6), (0.8, 0.6), (0.9, 1)]
)
def test_of_tied_samples_the_nearer_share_is_taken(share, exited):
    """Six of ten are tied at the lowest value, four at another; 0.3 and 0.8 are in between."""
    uncertainty = np.array([[0.0, 0.0]] * 6 + [[1.0, 0.0]] * 4)
    kept = keep_shares(Policy(ExitCriterion(), (0.5,)), [share, 1 - share], uncertainty)
    assert shares_of(kept, uncertainty)[0] == exited


def test_later_exits_make_up_for_ties():
    """At the first exit none can be told from another; the share up to the second is kept."""
    rng = np.random.default_rng(0)
    uncertainty = np.stack([np.ones(100), rng.random(100), np.zeros(100)], axis=1)
    kept = keep_shares(Policy(ExitCriterion(), (0.5, 0.5)), [0.2, 0.3, 0.5], uncertainty)
    assert shares_of(kept, uncertainty).tolist() == [0.0, 0.5, 0.5]


@given(
    policy=policies(4),
    weights=arrays(float, 4, elements=st.floats(0.0, 1.0)),
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(1, 60),
)
def test_shares_are_kept_within_one_sample_where_there_are_no_ties(policy, weights, seed, samples):
    weights = np.where(policy.heads_run, weights, 0.0)
    weights[-1] += 1e-3
    shares = weights / weights.sum()
    uncertainty = np.random.default_rng(seed).permuted(
        np.arange(4 * samples, dtype=float).reshape(-1, 4), axis=0
    )
    kept = keep_shares(policy, shares, uncertainty)
    found = shares_of(kept, uncertainty)
    assert (np.abs(found - shares) * samples <= 1 + 1e-9).all()
    assert (np.abs(np.cumsum(found - shares)) * samples <= 0.5 + 1e-9).all()
    assert kept.heads_run == policy.heads_run


@given(
    policy=policies(4),
    uncertainty=arrays(float, st.tuples(st.integers(1, 40), st.just(4)), elements=st.floats(0, 2)),
)
def test_on_the_records_whose_shares_are_kept_the_same_samples_exit(policy, uncertainty):
    """With any ties: a threshold of the policy does not part tied samples, either."""
    taken = policy.exits_taken(uncertainty)
    kept = keep_shares(policy, shares_of(policy, uncertainty), uncertainty)
    assert kept.exits_taken(uncertainty).tolist() == taken.tolist()


@given(policy=policies(3), seed=st.integers(0, 1000))
def test_a_monotone_transform_gives_the_same_exits(policy, seed):
    rng = np.random.default_rng(seed)
    old, new = rng.random((2, 30, 3)) * [[[1.0]], [[0.5]]]
    shares = shares_of(policy, old)
    plain = keep_shares(policy, shares, new)
    cubed = keep_shares(policy, shares, new**3)
    assert plain.exits_taken(new).tolist() == cubed.exits_taken(new**3).tolist()


def test_wrong_input_is_refused():
    policy, uncertainty = Policy(ExitCriterion(), (0.5,)), np.ones((4, 2))
    for shares, given_, message in [
        ([0.5, 0.25, 0.25], uncertainty, "3, but the policy has 2 exits"),
        ([0.5, 0.4], uncertainty, "must be shares whose sum is 1"),
        ([1.5, -0.5], uncertainty, "must be shares whose sum is 1"),
        ([0.5, 0.5], np.ones((4, 5)), "made for 2 exits"),
        ([0.5, 0.5], np.ones((0, 2)), "no samples"),
        ([0.5, 0.5], np.full((4, 2), np.nan), "not a number"),
    ]:
        with pytest.raises(InputError, match=message):
            keep_shares(policy, shares, given_)


# The tracker.


def stream(samples: int, seed: int, scale: float = 1.0) -> np.ndarray:
    """Uncertainties at three exits, lower at later ones, none tied."""
    return scale * np.random.default_rng(seed).random((samples, 3)) * [1.0, 0.8, 0.6]


def test_the_tracker_converges_to_the_quantiles_of_a_stationary_stream():
    """A third exits at 1, and half of the rest at 2: thresholds 1/3 and 0.4."""
    tracker = QuantileTracker(Policy(ExitCriterion(), (0.9, 0.01)), [1 / 3, 1 / 3, 1 / 3], 4000)
    for sample in stream(12_000, seed=1):
        tracker.update(sample)
    # Three standard errors of a quantile of 4,000 samples, and of 2,700 of a range of 0.8.
    assert tracker.policy.thresholds[0] == pytest.approx(1 / 3, abs=3 * np.sqrt(2 / 9 / 4000))
    assert tracker.policy.thresholds[1] == pytest.approx(0.4, abs=3 * 0.8 * 0.5 / np.sqrt(2600))


def test_the_tracker_follows_a_shift_within_its_window():
    shares = [0.5, 0.25, 0.25]
    tracker = QuantileTracker(Policy(ExitCriterion(), (0.5, 0.4)), shares, window=500)
    tracker.update(stream(2000, seed=1))
    before = tracker.policy
    for batch in np.array_split(stream(1000, seed=2, scale=3.0), 50):
        tracker.update(batch)
    new = stream(4000, seed=3, scale=3.0)
    assert shares_of(before, new)[0] < 0.2
    np.testing.assert_allclose(shares_of(tracker.policy, new), shares, atol=0.06)
    for batch in np.array_split(stream(1000, seed=4), 50):
        tracker.update(batch)
    np.testing.assert_allclose(shares_of(tracker.policy, stream(4000, 5)), shares, atol=0.06)


def test_a_full_window_of_one_batch_is_as_keeping_shares_of_those_that_reach():
    uncertainty = stream(300, seed=0)
    policy = Policy(ExitCriterion(), (0.3, NEVER))
    tracker = QuantileTracker(policy, [0.5, 0.0, 0.5], window=300)
    tracker.update(uncertainty)
    assert tracker.policy == keep_shares(policy, [0.5, 0.0, 0.5], uncertainty)


def test_too_few_samples_move_no_threshold():
    tracker = QuantileTracker(Policy(ExitCriterion(), (0.3, 0.3)), [0.5, 0.25, 0.25], 100, 20)
    policy = tracker.policy
    tracker.update(stream(19, seed=0))
    assert tracker.policy == policy
    tracker.update(stream(1, seed=1))
    # Twenty reached the first exit, fewer the second.
    assert tracker.policy.thresholds[0] != 0.3
    assert tracker.policy.thresholds[1] == 0.3


@given(batches=st.lists(st.integers(0, 30), max_size=6), seed=st.integers(0, 100))
def test_what_a_service_does_not_compute_is_not_used(batches, seed):
    """NaN behind the exit taken and at an exit that is off, or uncertainties there: no matter."""
    policy = Policy(ExitCriterion(), (0.4, NEVER, 0.3))
    rng = np.random.default_rng(seed)
    one, other = (QuantileTracker(policy, [0.4, 0, 0.3, 0.3], 40, 5) for _ in range(2))
    for size in batches:
        uncertainty = rng.random((size, 4))
        seen = uncertainty.copy()
        for row, taken in zip(seen, one.policy.exits_taken(seen), strict=True):
            row[taken + 1 :] = np.nan
        seen[:, 1] = np.nan
        one.update(uncertainty)
        other.update(seen)
    assert one.policy == other.policy
    assert one.state() == other.state()


def test_the_state_survives_json():
    one = QuantileTracker(
        Policy(ExitCriterion("margin", "above"), (0.5, "never")), [0.5, 0, 0.5], 80
    )
    one.update(stream(100, seed=0))
    other = QuantileTracker.from_state(json.loads(json.dumps(one.state(), allow_nan=False)))
    assert other.policy == one.policy
    for tracker in (one, other):
        tracker.update(stream(60, seed=1, scale=2.0))
    assert other.policy == one.policy
    assert other.state() == one.state()


def test_a_new_tracker_has_a_state_too():
    one = QuantileTracker(Policy(ExitCriterion(), (0.5, 0.2)), [0.5, 0.25, 0.25])
    assert QuantileTracker.from_state(one.state()).state() == one.state()


def test_what_a_tracker_cannot_use_is_refused():
    policy = Policy(ExitCriterion(), (0.5, 0.2))
    with pytest.raises(InputError, match="a window of 10, and at least 20 of it"):
        QuantileTracker(policy, [0.5, 0.25, 0.25], window=10, least=20)
    tracker = QuantileTracker(policy, [0.5, 0.25, 0.25])
    with pytest.raises(InputError, match="made for 3 exits"):
        tracker.update([[0.1, 0.2, 0.3, 0.4]])
    with pytest.raises(InputError, match="reached exit 2, but its uncertainty"):
        tracker.update([[0.9, np.nan, 0.1]])
    assert tracker.state()["recent"] == []
    for state in ({}, tracker.state() | {"recent": [[1.0]]}, tracker.state() | {"window": "x"}):
        with pytest.raises(InputError, match="quantile tracker"):
            QuantileTracker.from_state(state)


def test_shares_of_real_measures_are_kept():
    """Single-precision entropies of made-up logits, made less certain."""
    records = make_records(samples=400, exits=4)
    policy = Policy(ExitCriterion(), (0.6, 0.5, 0.4))
    shares = shares_of(policy, records.uncertainty)
    drifted = 1.3 * records.uncertainty
    assert np.abs(shares_of(policy, drifted) - shares).max() > 0.05
    kept = keep_shares(policy, shares, drifted)
    np.testing.assert_allclose(shares_of(kept, drifted), shares, atol=1 / 400)
