from dataclasses import replace

import numpy as np
import pytest

from early_exit.calibration.temperature import fit, negative_log_likelihood
from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.policy import Policy
from early_exit.policy.samples import halves
from early_exit.records.table import from_logits
from helpers import make_records


def calibrated(samples: int = 20_000) -> np.ndarray:
    """Logits whose softmax is the true class probability, and labels drawn from it."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(samples, 3))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = (rng.random((samples, 1)) > probability.cumsum(axis=1)).sum(axis=1)
    return logits, label


def test_fit_finds_the_factor_of_the_logits():
    logits, label = calibrated()
    factors = np.array([1.0, 3.0, 0.25])
    spread = logits[:, None] * factors[None, :, None]
    records = from_logits(np.arange(len(label)), label, spread, {})
    assert fit(records) == pytest.approx(factors, rel=0.05)


def test_the_fit_maximises_the_likelihood():
    records = make_records(samples=500)
    rows = halves(500)[0]
    for k, best in enumerate(fit(records)):
        logits, label = records.logits[rows, k], records.label[rows]
        at = [negative_log_likelihood(logits, label, best * f) for f in (0.9, 1, 1.1)]
        assert at[1] < min(at[0], at[2])


def test_the_half_that_tests_certificates_is_not_used():
    records = make_records(samples=500)
    fitting, testing = halves(500)
    label = records.label.copy()
    label[testing] = (label[testing] + 1) % records.classes
    np.testing.assert_array_equal(fit(replace(records, label=label)), fit(records))
    label[fitting] = (label[fitting] + 1) % records.classes
    assert (fit(replace(records, label=label)) != fit(records)).all()


def test_likelihood_by_hand():
    # Two equal logits give ln 2 at any temperature; ln 3 and 0 give 3/4, so ln 4/3.
    assert negative_log_likelihood(np.zeros((1, 2)), np.array([0]), 7.0) == pytest.approx(np.log(2))
    logits = np.array([[np.log(3), 0.0]])
    assert negative_log_likelihood(logits, np.array([0])) == pytest.approx(np.log(4 / 3))


def test_an_exit_without_errors_gets_a_finite_temperature():
    label = np.array([0, 1] * 20)
    logits = np.eye(2)[label][:, None] * 50
    assert np.isfinite(fit(from_logits(np.arange(40), label, logits, {}))).all()


def test_fit_needs_logits():
    with pytest.raises(InputError, match="need logits"):
        fit(replace(make_records(), logits=None))


def test_scaled_uncertainties():
    records = make_records()
    ones = records.uncertainty_by("entropy", (1.0,) * 3)
    np.testing.assert_array_equal(ones, records.uncertainty)
    hotter = records.uncertainty_by("entropy", (1.0, 4.0, 1.0))
    assert (hotter[:, 1] > records.uncertainty[:, 1]).all()
    np.testing.assert_array_equal(hotter[:, 0], records.uncertainty[:, 0])


def test_a_policy_keeps_its_temperatures():
    policy = Policy(ExitCriterion("margin", ExitRule.BELOW, (1.5, 2, 3)), (0.5, -np.inf))
    assert Policy.from_json(policy.to_json()) == policy
    assert policy.temperatures == (1.5, 2.0, 3.0)
    assert policy.criterion.needs_logits
    assert not ExitCriterion().needs_logits


@pytest.mark.parametrize("bad", [(1.0, 2.0), (1.0, 0.0, 1.0), (1.0, np.nan, 1.0)])
def test_invalid_temperatures_are_an_error(bad):
    with pytest.raises(InputError, match="positive temperature for each"):
        Policy(ExitCriterion("margin", ExitRule.BELOW, bad), (0.5, 0.5))
