"""Exact p-values: by hand, valid in simulation, and the certificates built on them."""

import numpy as np
import pytest
from scipy.stats import binom

from early_exit.calibration.methods import certified, certified_path
from early_exit.calibration.targets import Target
from early_exit.errors import InputError
from early_exit.policy.samples import Samples
from early_exit.statistics.exact_tests import (
    NUISANCE,
    broken_drop_p_value,
    broken_error_p_value,
    drop_p_value,
    error_p_value,
)
from helpers import make_costs

DELTA = 0.1
DRAWS = 300


def test_error_by_hand():
    # None of 3 wrong, if each is with probability 1/2: 1/8. At most one: 1/8 + 3/8.
    assert error_p_value(0, 3, 0.5) == pytest.approx(1 / 8)
    assert error_p_value(1, 3, 0.5) == pytest.approx(1 / 2)
    assert error_p_value(0, 0, 0.5) == 1


def test_a_drop_that_never_gains_is_nearly_binomial():
    # Without gains their upper bound is small, and the rest is binomial.
    p = drop_p_value(2, 0, 2000, 0.01)
    assert binom.cdf(2, 2000, 0.01) < p < 10 * binom.cdf(2, 2000, 0.01) + 2 * NUISANCE


def test_a_drop_as_large_as_the_bound_is_no_evidence():
    assert drop_p_value(20, 0, 2000, 0.01) == 1
    assert drop_p_value(0, 0, 0, 0.01) == 1
    assert drop_p_value(0, 5, 5, 0.01) == 1


def test_more_losses_are_less_evidence():
    values = [drop_p_value(worse, 5, 3000, 0.02) for worse in range(5, 70, 5)]
    assert values == sorted(values)
    assert values[0] < 0.01 < 0.9 < values[-1]


@pytest.mark.parametrize("bound", [-0.1, 1.0, 2.0])
def test_a_bound_out_of_range_is_named(bound):
    with pytest.raises(InputError, match="bound"):
        drop_p_value(1, 1, 10, bound)


@pytest.mark.parametrize("gains", [0.0, 0.002, 0.05, 0.2])
def test_p_values_are_valid_for_every_share_of_gains(gains):
    rng = np.random.default_rng(1)
    bound, samples, draws = 0.02, 800, 3000
    counts = rng.multinomial(samples, [gains + bound, 1 - 2 * gains - bound, gains], draws)
    p = np.array([drop_p_value(worse, better, samples, bound) for worse, _, better in counts])
    for level in (0.02, 0.1, 0.3):
        error = 3 * np.sqrt(level * (1 - level) / draws)
        assert (p <= level).mean() <= level + error


def test_a_broken_error_by_hand():
    # All of 3 wrong, if each is with probability 1/2: 1/8. At least two: 1/8 + 3/8.
    assert broken_error_p_value(3, 3, 0.5) == pytest.approx(1 / 8)
    assert broken_error_p_value(2, 3, 0.5) == pytest.approx(1 / 2)
    assert broken_error_p_value(0, 0, 0.5) == 1


def test_a_broken_drop_that_never_gains_is_nearly_binomial():
    p = broken_drop_p_value(45, 0, 2000, 0.01)
    # Up to 0.6 % unobserved gains are possible, which raises the p-value.
    assert binom.sf(44, 2000, 0.01) < p < 1e-3


def test_a_drop_that_is_no_larger_than_promised_is_not_broken():
    assert broken_drop_p_value(20, 0, 2000, 0.01) == 1
    assert broken_drop_p_value(0, 0, 0, 0.01) == 1
    values = [broken_drop_p_value(worse, 5, 3000, 0.02) for worse in range(130, 60, -5)]
    assert values == sorted(values)
    assert values[0] < 0.01 < 0.9 < values[-1]
    with pytest.raises(InputError, match="bound"):
        broken_drop_p_value(1, 1, 10, -0.1)


@pytest.mark.parametrize("gains", [0.0, 0.002, 0.05, 0.2])
def test_broken_p_values_are_valid_for_every_share_of_gains(gains):
    rng = np.random.default_rng(1)
    bound, samples, draws = 0.02, 800, 3000
    counts = rng.multinomial(samples, [gains + bound, 1 - 2 * gains - bound, gains], draws)
    p = np.array(
        [broken_drop_p_value(worse, better, samples, bound) for worse, _, better in counts]
    )
    for level in (0.02, 0.1, 0.3):
        error = 3 * np.sqrt(level * (1 - level) / draws)
        assert (p <= level).mean() <= level + error
    # And it is not valid by never being small.
    assert (
        broken_drop_p_value(int(samples * (gains + 0.2)), int(samples * gains), samples, bound)
        < 1e-3
    )


def population(step: float, samples: int = 4000) -> Samples:
    """Two exits; exit 1 is less accurate at higher uncertainty. ``step`` makes the grid coarse."""
    rng = np.random.default_rng(0)
    hardness = rng.random(samples)
    uncertainty = np.ceil(hardness / step) * step
    correct = np.stack([rng.random(samples) > hardness**3, rng.random(samples) < 0.97], axis=1)
    return Samples(uncertainty[:, None], correct, span=(0.0, 1.0))


def broken_promises(samples: Samples, certify, bound: float, draws: int = DRAWS) -> float:
    """Share of resamplings in which the true loss exceeds the certified bound."""
    rng = np.random.default_rng(2)
    target = Target("drop", bound, DELTA)
    family = np.linspace(0, 1, 40)[:, None]
    broken = 0
    for _ in range(draws):
        drawn = samples.select(rng.integers(len(samples), size=1500))
        thresholds, _ = certify(drawn, family, target)
        true = samples.full_network_accuracy - samples.right(samples.taken(thresholds)).mean()
        broken += true > bound
    return broken / draws


@pytest.mark.parametrize("step", [0.005, 0.1])
def test_promises_hold(step):
    error = 3 * np.sqrt(DELTA * (1 - DELTA) / DRAWS)
    assert broken_promises(population(step), certified.certify, 0.03) <= DELTA + error


@pytest.mark.thorough
def test_returning_the_first_that_failed_breaks_promises():
    """A planted off-by-one error, which the test above would detect."""

    def one_too_far(samples, family, target):
        thresholds, certificate = certified.certify(samples, family, target)
        place = np.flatnonzero((family == thresholds).all(axis=1))
        return family[min(place[-1] + 1 if len(place) else 0, len(family) - 1)], certificate

    # One step of the grid exits a tenth of the samples.
    coarse = population(0.1)
    assert broken_promises(coarse, certified.certify, 0.03) <= DELTA
    assert broken_promises(coarse, one_too_far, 0.03) > 2 * DELTA


def test_nothing_is_promised_where_nothing_can_be():
    samples = Samples(np.zeros((50, 1)), np.stack([np.zeros(50), np.ones(50)], axis=1) > 0)
    target = Target("drop", 0.01, DELTA)
    prices = make_costs(2).in_unit("macs")
    for method in (certified, certified_path):
        assert method.thresholds(samples, prices, [target]).tolist() == [[-np.inf]]
        ((_, certificate),) = method.certified(samples, prices, [target])
        assert certificate.p_value is None
        assert certificate.p_value_stopped > DELTA


def test_an_early_exit_that_is_better_counts():
    """A loss of -1 is not clipped: it makes room for losses of 1 elsewhere."""
    rng = np.random.default_rng(3)
    worse, better = rng.random(3000) < 0.03, rng.random(3000) < 0.04
    correct = np.stack([~worse, ~better | worse], axis=1)
    samples = Samples(rng.random((3000, 1)), correct)
    thresholds, _ = certified.certify(samples, np.array([[np.inf]]), Target("drop", 0.01, DELTA))
    assert thresholds == [np.inf]


def test_an_accuracy_is_promised_by_the_error():
    samples = Samples(np.linspace(0, 1, 2000)[:, None], np.ones((2000, 2), bool))
    target = Target("accuracy", 0.98, DELTA)
    ((_, certificate),) = certified.certified(samples, make_costs(2).in_unit("macs"), [target])
    assert (certificate.loss, certificate.bound) == ("error", pytest.approx(0.02))
    assert certificate.p_value == pytest.approx(0.98**2000)


def test_the_path_is_tested_on_samples_it_was_not_fitted_on(monkeypatch):
    seen = {}
    samples = population(0.01)
    tagged = Samples(samples.uncertainty + np.arange(4000)[:, None] * 1e-9, samples.correct)
    fit = certified_path.coordinate.path
    monkeypatch.setattr(
        certified_path.coordinate,
        "path",
        lambda s, prices: seen.update(fit=set(s.uncertainty[:, 0])) or fit(s, prices),
    )
    test = certified_path.certify
    monkeypatch.setattr(
        certified_path,
        "certify",
        lambda s, *rest: seen.update(test=set(s.uncertainty[:, 0])) or test(s, *rest),
    )
    certified_path.thresholds(tagged, make_costs(2).in_unit("macs"), [Target("drop", 0.05, DELTA)])
    assert not seen["fit"] & seen["test"]
    assert len(seen["fit"] | seen["test"]) == 4000
