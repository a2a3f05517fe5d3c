"""Drift: each test by hand, false alarms at the level that is promised, and drift that is found."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2_contingency, fisher_exact

from early_exit.drift import Seen, compare, compare_seen, holm, homogeneity
from early_exit.errors import InputError
from early_exit.policy import ExitRule, Policy
from early_exit.records import UNKNOWN
from helpers import make_records

POLICY = Policy("entropy", ExitRule.BELOW, (0.9, 0.6))


def test_holm_by_hand():
    # The smallest times 3, the next times 2 and no less than that, the largest times 1.
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06])
    np.testing.assert_allclose(holm(np.array([0.9, 0.6])), [1.0, 1.0])


def test_homogeneity_is_that_of_scipy_where_counts_are_large():
    before, after = np.array([300, 0, 200, 100]), np.array([120, 0, 130, 60])
    expected = chi2_contingency(np.stack([before, after])[:, [0, 2, 3]], correction=False)
    assert homogeneity(before, after) == pytest.approx((expected.statistic, expected.pvalue))


def test_homogeneity_is_exact_where_counts_are_small():
    # Of two columns the statistic orders tables as Fisher's test does where the margins are equal.
    before, after = np.array([5, 0]), np.array([0, 5])
    exact = fisher_exact([before, after]).pvalue
    assert homogeneity(before, after)[1] == pytest.approx(exact, abs=4 * np.sqrt(exact / 9999))
    assert homogeneity(np.array([7, 0]), np.array([3, 0])) == (0.0, 1.0)


def test_what_a_policy_sees():
    records = make_records(samples=40)
    seen = Seen.of(records, POLICY)
    left = seen.left(3)
    assert left.sum() == 40
    assert (left > 0).all()
    assert len(seen.reaching(0)) == 40
    assert len(seen.reaching(2)) == left[2]
    assert seen.right.sum() == records.correct[np.arange(40), seen.taken].sum()
    half = replace(records, label=np.where(np.arange(40) < 15, records.label, UNKNOWN))
    assert len(Seen.of(half, POLICY).right) == 15


def test_false_alarms_are_as_rare_as_promised():
    """Samples drawn like the reference: a share of about alpha warns, or less."""
    seen = Seen.of(make_records(samples=2400, seed=3), POLICY)
    rng = np.random.default_rng(0)
    alpha, draws, alarms = 0.1, 200, 0
    for _ in range(draws):
        order = rng.permutation(2400)
        parts = seen.select(order[:1600]), seen.select(order[1600:])
        alarms += compare_seen(POLICY, *parts, alpha=alpha).found
    # Three standard deviations; and not zero, or the test could not warn at all.
    assert 1 <= alarms <= draws * alpha + 3 * np.sqrt(draws * alpha * (1 - alpha))


def test_unsurer_samples_are_found_with_and_without_labels():
    calibration, new = make_records(samples=1500, seed=1), make_records(samples=300, seed=2)
    quiet = compare(POLICY, calibration, new)
    assert not quiet.found
    assert quiet.moved == []
    softer = new.logits * np.float32(0.7)
    unsure = replace(new, logits=softer, entropy=_entropy(softer))
    found = compare(POLICY, calibration, unsure)
    assert found.found
    assert {"exit shares", "uncertainty at exit 1"} <= set(found.moved)
    assert "accuracy" in found.tests.test.tolist()
    assert found.shares.after[0] < found.shares.before[0]
    blind = replace(unsure, label=np.full(300, UNKNOWN))
    unlabelled = compare(POLICY, calibration, blind, {"loss": "drop", "bound": 0.1})
    assert unlabelled.found
    assert set(unlabelled.tests.test) == {"exit shares", "uncertainty"}


def _entropy(logits):
    from early_exit.uncertainty.entropy import uncertainty

    return uncertainty(logits.astype(np.float64)).astype(np.float32)


def test_only_heads_that_run_are_looked_at():
    policy = Policy("entropy", ExitRule.BELOW, (-np.inf, 0.6))
    found = compare(policy, make_records(seed=1), make_records(seed=2))
    assert found.tests[found.tests.test == "uncertainty"]["exit"].tolist() == [2, 3]


@pytest.mark.parametrize("loss", ["drop", "error"])
def test_labels_that_no_longer_fit_break_accuracy_and_promise(loss):
    """The same pictures, another meaning: only labels tell."""
    calibration, new = make_records(samples=2000, seed=1), make_records(samples=400, seed=2)
    kept = compare(POLICY, calibration, new, {"loss": loss, "bound": 0.9})
    assert kept.moved == []
    # Whoever leaves early is wrong, and the last exit would have been right.
    seen, rows = Seen.of(new, POLICY), np.arange(400)
    taken_for = new.prediction[rows, seen.taken]
    label = np.where(seen.taken < 2, (taken_for + 1) % 4, new.label)
    prediction = new.prediction.copy()
    prediction[:, 2] = np.where(seen.taken < 2, label, prediction[:, 2])
    changed = replace(new, label=label, prediction=prediction)
    bound = 0.05 if loss == "drop" else 0.3
    moved = compare(POLICY, calibration, changed, {"loss": loss, "bound": bound})
    assert moved.moved == ["accuracy", "promise"]
    row = moved.tests.set_index("test").loc["promise"]
    assert row.before == bound
    assert row.after > bound


def test_another_network_and_an_unknown_loss_are_refused():
    records = make_records()
    other = replace(records, identity=records.identity | {"network": "o" * 64})
    with pytest.raises(InputError, match="another network"):
        compare(POLICY, records, other)
    with pytest.raises(InputError, match="not drop or error"):
        compare(POLICY, records, records, {"loss": "regret", "bound": 0.1})


def test_an_exit_that_nobody_reaches_is_left_out():
    everybody = Policy("entropy", ExitRule.BELOW, (np.inf, 0.6))
    found = compare(everybody, make_records(seed=1), make_records(seed=2))
    assert found.tests[found.tests.test == "uncertainty"]["exit"].tolist() == [1]
    assert not found.found
