from dataclasses import replace

import numpy as np
import pytest

from early_exit.errors import InputError
from early_exit.policy import ExitRule, Policy
from early_exit.records import from_logits
from early_exit.samples import halves
from early_exit.temperature import fit, negative_log_likelihood
from helpers import make_records


def calibrated(samples: int = 20_000) -> np.ndarray:
    """Logits whose softmax is the true probability of each class, and labels drawn from them."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(samples, 3))
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    label = (rng.random((samples, 1)) > probability.cumsum(axis=1)).sum(axis=1)
    return logits, label


def test_finds_what_the_logits_were_multiplied_by():
    logits, label = calibrated()
    factors = np.array([1.0, 3.0, 0.25])
    spread = logits[:, None] * factors[None, :, None]
    records = from_logits(np.arange(len(label)), label, spread, {})
    assert fit(records) == pytest.approx(factors, rel=0.05)


def test_no_other_temperature_is_likelier():
    records = make_records(samples=500)
    rows = halves(500)[0]
    for k, best in enumerate(fit(records)):
        logits, label = records.logits[rows, k], records.label[rows]
        at = [negative_log_likelihood(logits, label, best * f) for f in (0.9, 1, 1.1)]
        assert at[1] < min(at[0], at[2])


def test_the_half_that_tests_promises_has_no_say():
    records = make_records(samples=500)
    fitting, testing = halves(500)
    label = records.label.copy()
    label[testing] = (label[testing] + 1) % records.classes
    np.testing.assert_array_equal(fit(replace(records, label=label)), fit(records))
    label[fitting] = (label[fitting] + 1) % records.classes
    assert (fit(replace(records, label=label)) != fit(records)).all()


def test_likelihood_by_hand():
    # Two equal logits: ln 2, whatever the temperature. ln 3 and 0: 3/4, so ln 4/3.
    assert negative_log_likelihood(np.zeros((1, 2)), np.array([0]), 7.0) == pytest.approx(np.log(2))
    logits = np.array([[np.log(3), 0.0]])
    assert negative_log_likelihood(logits, np.array([0])) == pytest.approx(np.log(4 / 3))


def test_an_exit_that_is_always_right_stays_finite():
    label = np.array([0, 1] * 20)
    logits = np.eye(2)[label][:, None] * 50
    assert np.isfinite(fit(from_logits(np.arange(40), label, logits, {}))).all()


def test_needs_logits():
    with pytest.raises(InputError, match="need logits"):
        fit(replace(make_records(), logits=None))


def test_scaled_uncertainties():
    records = make_records()
    ones = records.uncertainty("entropy", (1.0,) * 3)
    np.testing.assert_array_equal(ones, records.entropy)
    hotter = records.uncertainty("entropy", (1.0, 4.0, 1.0))
    assert (hotter[:, 1] > records.entropy[:, 1]).all()
    np.testing.assert_array_equal(hotter[:, 0], records.entropy[:, 0])


def test_a_policy_keeps_its_temperatures():
    policy = Policy("margin", ExitRule.BELOW, (0.5, -np.inf), (1.5, 2, 3))
    assert Policy.from_json(policy.to_json()) == policy
    assert policy.at((0.0, 0.0)).temperatures == (1.5, 2.0, 3.0)
    assert policy.needs_logits
    assert not Policy("entropy", ExitRule.BELOW, (0.5,)).needs_logits


@pytest.mark.parametrize("bad", [(1.0, 2.0), (1.0, 0.0, 1.0), (1.0, np.nan, 1.0)])
def test_temperatures_that_do_not_fit_are_named(bad):
    with pytest.raises(InputError, match="positive temperature for each of 3 exits"):
        Policy("margin", ExitRule.BELOW, (0.5, 0.5), bad)
