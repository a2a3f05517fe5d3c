"""Thresholds with a certificate: Learn then Test by fixed-sequence testing.

Angelopoulos et al. (2021, Learn then Test, sections 2 and 3); for early exits Jazbec et al. (2024,
Fast yet safe). Policies are ordered from safe to bold, independently of the samples that test them.
The hypothesis "the loss exceeds the bound" is tested for each in turn. The first that cannot be
rejected stops the search, and the policy *before* it is returned. Each test errs with probability
at most delta, and only the first true hypothesis can be rejected wrongly, so delta holds for the
whole procedure.

For a drop, the loss of a sample is its correctness at the last exit minus that at the exit taken:
-1, 0 or 1. It is not clipped, so gains count. For an accuracy, the loss is 1 for a wrong
prediction, else 0.

The family has one threshold for all exits, on a fixed grid over the measure's range, so all samples
can test. If the range is unknown (the measure ``external``) or temperatures were fitted, one half
of the samples is used for those, and the other half tests.
:mod:`~early_exit.calibration.methods.certified_path` has a better family and tests on half of the
samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from early_exit.calibration.targets import QUALITIES, Target
from early_exit.errors import InputError
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples
from early_exit.statistics.exact_tests import NUISANCE, drop_p_value, error_p_value

# A budget limits no loss, so it cannot be certified.
KINDS = QUALITIES
STEPS = 400


@dataclass(frozen=True)
class Certificate:
    """A bound on the loss of a policy, with its evidence.

    Attributes
    ----------
    loss
        ``drop`` against the full network, or ``error``.
    bound, delta
        The mean loss on new samples of the same distribution is at most ``bound``. Over draws of
        the calibration samples, the probability that this is certified and false is at most
        ``delta``. Given that it is certified, the probability that it is false may be larger.
    samples
        Number of samples that tested it.
    p_value
        p-value of the returned policy; ``None`` if no policy could be certified.
    p_value_stopped
        p-value of the next bolder policy, which could not be certified; ``None`` if there is none.
    """

    loss: str
    bound: float
    delta: float
    samples: int
    p_value: float | None
    p_value_stopped: float | None


def thresholds(samples: Samples, costs: UnitCosts, targets: Sequence[Target]) -> np.ndarray:
    """The boldest certified policy for each target.

    Shape (T, K-1). If none can be certified, no sample exits early.
    """
    return np.stack([found for found, _ in certified(samples, costs, targets)])


def certified(
    samples: Samples, costs: UnitCosts, targets: Sequence[Target]
) -> list[tuple[np.ndarray, Certificate]]:
    """The thresholds for each target, with their certificates."""
    fitting, testing = samples.halves()
    if not np.isfinite(samples.span).all():
        samples = replace(fitting, span=(fitting.uncertainty.min(), fitting.uncertainty.max()))
    elif not samples.scaled:
        testing = samples
    family = uniform_family(samples)
    return [certify(testing, family, target) for target in targets]


def uniform_family(samples: Samples) -> np.ndarray:
    """Policies with one threshold for all exits, evenly spaced over the range, shape (P, K-1)."""
    grid = np.append(np.linspace(*samples.span, STEPS), np.inf)
    return np.repeat(grid[:, None], samples.exits - 1, axis=1)


def certify(samples: Samples, family: np.ndarray, target: Target) -> tuple[np.ndarray, Certificate]:
    """Test ``family`` (P, K-1), from safe to bold, on ``samples`` that did not fit it.

    Raises
    ------
    InputError
        If delta is too small for any test of a drop.
    """
    drop = target.kind == "drop"
    if drop and target.delta <= NUISANCE:
        raise InputError(
            f"calibration.delta: {target.delta:g}, but a drop cannot be certified with a delta of"
            f" {NUISANCE:g} or less",
            "raise it, or use an accuracy as target",
        )
    bound = target.value if drop else 1.0 - target.value
    certified_row, p_value, p_stopped = np.full(samples.exits - 1, -np.inf), None, None
    for row in family:
        p = _p_value(samples, row, drop, bound)
        if p > target.delta:
            p_stopped = p
            break
        certified_row, p_value = row, p
    loss = "drop" if drop else "error"
    certificate = Certificate(loss, bound, target.delta, len(samples), p_value, p_stopped)
    return certified_row, certificate


def _p_value(samples: Samples, thresholds: np.ndarray, drop: bool, bound: float) -> float:
    """p-value of the hypothesis that the policy's mean loss is ``bound`` or more."""
    correct = samples.right(samples.taken(thresholds))
    if not drop:
        return error_p_value(int((~correct).sum()), len(samples), bound)
    full = samples.correct[:, -1]
    worse, better = int((full & ~correct).sum()), int((correct & ~full).sum())
    return drop_p_value(worse, better, len(samples), bound)
