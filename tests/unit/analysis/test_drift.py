"""Drift: each test by hand, the rate of false alarms, and drift that is detected."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2_contingency, fisher_exact

from early_exit.analysis.drift import Observed, compare, compare_observed, holm, homogeneity
from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.records.table import UNKNOWN
from helpers import make_records

POLICY = Policy(ExitCriterion(), (0.9, 0.6))


def test_holm_by_hand():
    # Times 3, 2 and 1 in ascending order, and never less than the one before.
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06])
    np.testing.assert_allclose(holm(np.array([0.9, 0.6])), [1.0, 1.0])


def test_homogeneity_matches_scipy_for_large_counts():
    before, after = np.array([300, 0, 200, 100]), np.array([120, 0, 130, 60])
    expected = chi2_contingency(np.stack([before, after])[:, [0, 2, 3]], correction=False)
    assert homogeneity(before, after) == pytest.approx((expected.statistic, expected.pvalue))


def test_homogeneity_is_exact_for_small_counts():
    # With two columns and equal margins, the statistic orders tables as Fisher's test does.
    before, after = np.array([5, 0]), np.array([0, 5])
    exact = fisher_exact([before, after]).pvalue
    assert homogeneity(before, after)[1] == pytest.approx(exact, abs=4 * np.sqrt(exact / 9999))
    assert homogeneity(np.array([7, 0]), np.array([3, 0])) == (0.0, 1.0)


def test_a_policy_applied_to_records():
    records = make_records(samples=40)
    observed = Observed.of(records, POLICY)
    exited = observed.exited(3)
    assert exited.sum() == 40
    assert (exited > 0).all()
    assert len(observed.reaching(0)) == 40
    assert len(observed.reaching(2)) == exited[2]
    assert observed.correct.sum() == records.correct[np.arange(40), observed.taken].sum()
    half = replace(records, label=np.where(np.arange(40) < 15, records.label, UNKNOWN))
    assert len(Observed.of(half, POLICY).correct) == 15


@pytest.mark.thorough
def test_false_alarms_keep_the_level():
    """At most a share alpha of samples drawn like the reference warns."""
    observed = Observed.of(make_records(samples=2400, seed=3), POLICY)
    rng = np.random.default_rng(0)
    alpha, draws, alarms = 0.1, 200, 0
    for _ in range(draws):
        order = rng.permutation(2400)
        parts = observed.select(order[:1600]), observed.select(order[1600:])
        alarms += compare_observed(POLICY, *parts, alpha=alpha).found
    # Three standard deviations; and not zero, or the test could not warn at all.
    assert 1 <= alarms <= draws * alpha + 3 * np.sqrt(draws * alpha * (1 - alpha))


def test_less_confident_samples_are_detected_with_and_without_labels():
    calibration, new = make_records(samples=1500, seed=1), make_records(samples=300, seed=2)
    quiet = compare(POLICY, calibration, new)
    assert not quiet.found
    assert quiet.moved == []
    softer = new.logits * np.float32(0.7)
    unsure = replace(new, logits=softer, uncertainty=_entropy(softer))
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
    from early_exit.records.uncertainty.entropy import uncertainty

    return uncertainty(logits.astype(np.float64)).astype(np.float32)


def test_only_heads_that_run_are_tested():
    policy = Policy(ExitCriterion(), (-np.inf, 0.6))
    found = compare(policy, make_records(seed=1), make_records(seed=2))
    assert found.tests[found.tests.test == "uncertainty"]["exit"].tolist() == [2, 3]


@pytest.mark.parametrize("loss", ["drop", "error"])
def test_changed_labels_break_accuracy_and_certificate(loss):
    """The same images with other labels: only tests with labels warn."""
    calibration, new = make_records(samples=2000, seed=1), make_records(samples=400, seed=2)
    kept = compare(POLICY, calibration, new, {"loss": loss, "bound": 0.9})
    assert kept.moved == []
    # Samples that exit early are wrong, and the last exit would have been correct.
    observed, rows = Observed.of(new, POLICY), np.arange(400)
    predicted = new.prediction[rows, observed.taken]
    label = np.where(observed.taken < 2, (predicted + 1) % 4, new.label)
    prediction = new.prediction.copy()
    prediction[:, 2] = np.where(observed.taken < 2, label, prediction[:, 2])
    changed = replace(new, label=label, prediction=prediction)
    bound = 0.05 if loss == "drop" else 0.3
    moved = compare(POLICY, calibration, changed, {"loss": loss, "bound": bound})
    assert moved.moved == ["accuracy", "promise"]
    row = moved.tests.set_index("test").loc["promise"]
    assert row.before == bound
    assert row.after > bound


def test_another_network_and_an_unknown_loss_are_errors():
    records = make_records()
    other = replace(records, provenance=records.provenance | {"network": "o" * 64})
    with pytest.raises(InputError, match="another network"):
        compare(POLICY, records, other)
    with pytest.raises(InputError, match="not drop or error"):
        compare(POLICY, records, records, {"loss": "regret", "bound": 0.1})


def test_an_exit_that_no_sample_reaches_is_omitted():
    all_exit = Policy(ExitCriterion(), (np.inf, 0.6))
    found = compare(all_exit, make_records(seed=1), make_records(seed=2))
    assert found.tests[found.tests.test == "uncertainty"]["exit"].tolist() == [1]
    assert not found.found
