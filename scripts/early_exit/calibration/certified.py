"""Thresholds with a certificate: Learn then Test by fixed-sequence testing.

Angelopoulos et al. (2021, Learn then Test, sections 2 and 3); for early exits Jazbec et al. (2024,
Fast yet safe). Policies are ordered from safe to bold without looking at the samples that test
them; each in turn is tested for "the loss is more than was promised", and the first that cannot be
refused stops the search: the one *before* it is returned. Since each test errs with probability at
most delta, and only the first true hypothesis can be refused wrongly, so does the whole.

The loss of a sample is what leaving early costs it, right at the last exit less right at the exit
taken: -1, 0 or 1. Where an accuracy is asked for, it is 1 where the sample is wrong. It is never
clipped: an early exit that is right where the last is wrong counts.

The family here has one threshold for all exits, on a fixed grid over the measure's range, so all
samples test; where the range is not known (the measure ``given``), or temperatures were fitted, one
half has shown them and the other tests. :mod:`~early_exit.calibration.certified_path` takes a
better family and half of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from early_exit.cost_model import Prices
from early_exit.errors import InputError
from early_exit.risk import NUISANCE, drop_p_value, error_p_value
from early_exit.samples import Samples
from early_exit.targets import QUALITIES, Target

# A budget is no loss that could be promised.
KINDS = QUALITIES
STEPS = 400


@dataclass(frozen=True)
class Certificate:
    """What is promised, and on what evidence.

    Attributes
    ----------
    loss
        ``drop`` against the whole network, or ``error``.
    bound, delta
        The mean loss on new samples of the same kind is at most ``bound`` with probability at
        least 1 - ``delta``.
    samples
        How many tested it.
    p_value
        Of the policy returned; ``None`` where nothing could be promised.
    p_value_stopped
        Of the next bolder one, which could not be refused; ``None`` if there was none.
    """

    loss: str
    bound: float
    delta: float
    samples: int
    p_value: float | None
    p_value_stopped: float | None


def thresholds(samples: Samples, prices: Prices, targets: Sequence[Target]) -> np.ndarray:
    """The boldest certified policy for each target; see the package for the signature.

    Where nothing can be promised, nobody leaves early.
    """
    return np.stack([found for found, _ in certified(samples, prices, targets)])


def certified(
    samples: Samples, prices: Prices, targets: Sequence[Target]
) -> list[tuple[np.ndarray, Certificate]]:
    """The same thresholds, each with its certificate."""
    seen, testing = samples.halves()
    if not np.isfinite(samples.span).all():
        samples = replace(seen, span=(seen.uncertainty.min(), seen.uncertainty.max()))
    elif not samples.scaled:
        testing = samples
    family = uniform_family(samples)
    return [certify(testing, family, target) for target in targets]


def uniform_family(samples: Samples) -> np.ndarray:
    """Shape (P, K-1): one threshold for all exits, evenly spread over the measure's range."""
    grid = np.append(np.linspace(*samples.span, STEPS), np.inf)
    return np.repeat(grid[:, None], samples.exits - 1, axis=1)


def certify(samples: Samples, family: np.ndarray, target: Target) -> tuple[np.ndarray, Certificate]:
    """Test ``family`` (P, K-1), from safe to bold, on ``samples`` that it was not fitted on.

    Raises
    ------
    InputError
        If a drop shall be promised with a probability that no test of it can give.
    """
    drop = target.kind == "drop"
    if drop and target.delta <= NUISANCE:
        raise InputError(
            f"calibration.delta: {target.delta:g}, but a drop cannot be promised with a delta of"
            f" {NUISANCE:g} or less; raise it, or ask for an accuracy"
        )
    bound = target.value if drop else 1.0 - target.value
    held, p_held, p_stopped = np.full(samples.exits - 1, -np.inf), None, None
    for row in family:
        p = _p_value(samples, row, drop, bound)
        if p > target.delta:
            p_stopped = p
            break
        held, p_held = row, p
    loss = "drop" if drop else "error"
    return held, Certificate(loss, bound, target.delta, len(samples), p_held, p_stopped)


def _p_value(samples: Samples, thresholds: np.ndarray, drop: bool, bound: float) -> float:
    """Of the hypothesis that the policy loses ``bound`` or more."""
    right = samples.right(samples.taken(thresholds))
    if not drop:
        return error_p_value(int((~right).sum()), len(samples), bound)
    whole = samples.correct[:, -1]
    worse, better = int((whole & ~right).sum()), int((right & ~whole).sum())
    return drop_p_value(worse, better, len(samples), bound)
