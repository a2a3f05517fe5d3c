"""Exact tests of the hypothesis that a mean loss is at least a bound.

The error is 0 or 1, and its count is binomial. The drop against another classifier is -1, 0 or 1;
its distribution depends on how often the two differ, a nuisance parameter. A confidence bound on it
may fail with a small probability, which is added to the p-value of the worst case below the bound
(Berger and Boos 1994, Journal of the American Statistical Association 89).
"""

from __future__ import annotations

import numpy as np
from scipy.special import bdtr, betaincinv, gammaln, xlog1py, xlogy

from early_exit.errors import InputError

# Probability that the bound on the nuisance parameter fails.
NUISANCE = 1e-3
# The same for one of many tests, whose p-value must be able to get smaller.
NUISANCE_OF_MANY = 1e-5
# Bound on the omitted tail of a sum of probabilities.
NEGLIGIBLE = 1e-12


def error_p_value(wrong: int, samples: int, bound: float) -> float:
    """P-value of the hypothesis that the error rate is ``bound`` or more.

    Raises
    ------
    InputError
        If the bound is not between 0 and 1.
    """
    if not 0 < bound < 1:
        raise InputError(f"a bound on an error must lie between 0 and 1, not {bound:g}")
    return float(bdtr(wrong, samples, bound)) if samples else 1.0


def drop_p_value(worse: int, better: int, samples: int, bound: float) -> float:
    """P-value of the hypothesis that the mean drop is ``bound`` or more.

    Parameters
    ----------
    worse, better
        Numbers of the ``samples`` with a loss of 1 and of -1 (the others have 0).
    bound
        At least 0 and less than 1.

    Returns
    -------
    float
        At most 1; valid for every distribution of the loss, hence conservative.

    Raises
    ------
    InputError
        If the bound is out of range.

    Notes
    -----
    With probabilities q of -1 and q + b of 1, the sum T of n losses falls to t or below with a
    probability f(q) whose derivative is n (P(T' = t + 1) - P(T' = t)), where T' has n - 1 terms.
    For 4 q (q + b) <= (1 - 2 q - b)^2 a loss plus 1 is the sum of two independent Bernoulli
    variables, so the mode of T' is less than 1 away from its mean (Darroch 1964) and f ascends in q
    as long as t + 1 lies below that. So the worst case is the largest q.
    """
    largest, splits = _largest_gain(better, samples, bound, NUISANCE)
    total = worse - better
    if not splits or total + 2 > (samples - 1) * bound:
        return 1.0
    return min(1.0, _lower_tail(total, samples, largest, largest + bound) + NUISANCE)


def broken_error_p_value(wrong: int, samples: int, bound: float) -> float:
    """P-value of the hypothesis that the error rate is ``bound`` or less.

    It is small if a guaranteed error is exceeded; the counterpart of :func:`error_p_value`.

    Raises
    ------
    InputError
        If the bound is not between 0 and 1.
    """
    return error_p_value(samples - wrong, samples, 1 - bound)


def broken_drop_p_value(worse: int, better: int, samples: int, bound: float) -> float:
    """P-value of the hypothesis that the mean drop is ``bound`` or less.

    It is small if a guaranteed drop is exceeded. Parameters and errors as of :func:`drop_p_value`.

    Notes
    -----
    As there, with the upper tail: P(T >= t) has the derivative n (P(T' = t - 1) - P(T' = t)) in q,
    and ascends as long as t - 1 lies above the mode of T'. Again the worst case is the largest q.
    """
    largest, splits = _largest_gain(better, samples, bound, NUISANCE_OF_MANY)
    total = worse - better
    if total - 2 < (samples - 1) * bound:
        return 1.0
    if not splits:
        # Hoeffding (1963, theorem 2) only needs losses between -1 and 1.
        return float(np.exp(-samples * (total / samples - bound) ** 2 / 2))
    # T >= t is -T <= -t, with up and down swapped.
    return min(1.0, _lower_tail(-total, samples, largest + bound, largest) + NUISANCE_OF_MANY)


def _largest_gain(better: int, samples: int, bound: float, error: float) -> tuple[float, bool]:
    """Upper confidence bound on the probability of a gain, which fails with ``error`` at most.

    Also whether, at that bound, a loss plus 1 is the sum of two Bernoulli variables.
    """
    if not 0 <= bound < 1:
        raise InputError(f"a bound on a drop must be at least 0 and less than 1, not {bound:g}")
    if better >= samples:
        return 1.0, False
    largest = float(betaincinv(better + 1, samples - better, 1 - error))
    stays = 1 - 2 * largest - bound
    return largest, stays > 0 and 4 * largest * (largest + bound) <= stays**2


def _lower_tail(total: int, samples: int, down: float, up: float) -> float:
    """P(ups - downs <= total) for ``samples`` steps with these probabilities of down and up."""
    spread = 10 * np.sqrt(samples * down * (1 - down)) + 40
    middle = samples * down
    downs = np.arange(max(0, int(middle - spread)), min(samples, int(middle + spread)) + 1)
    log_share = gammaln(samples + 1) - gammaln(downs + 1) - gammaln(samples - downs + 1)
    share = np.exp(log_share + xlogy(downs, down) + xlog1py(samples - downs, -down))
    ups = downs + total
    rest = samples - downs
    # bdtr needs counts between 0 and the number of trials.
    tail = np.where(ups < 0, 0.0, bdtr(np.clip(ups, 0, rest).astype(float), rest, up / (1 - down)))
    return float(share @ tail) + NEGLIGIBLE
