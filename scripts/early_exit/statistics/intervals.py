"""Confidence intervals of proportions and means."""

from __future__ import annotations

import numpy as np

from early_exit.errors import InputError


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided Wilson score interval of a proportion (Wilson 1927; Brown, Cai and DasGupta 2001).

    Parameters
    ----------
    successes, trials
        Counts, ``0 <= successes <= trials``.
    confidence
        Coverage, between 0 and 1.

    Returns
    -------
    tuple of float
        Lower and upper end, within [0, 1]; (0, 1) without trials.

    Raises
    ------
    InputError
        If the counts or the confidence are out of range.
    """
    return _wilson(successes, trials, confidence, "two-sided")


def wilson_lower_bound(successes: int, trials: int, confidence: float = 0.95) -> float:
    """One-sided Wilson lower bound: the true proportion is above it with ``confidence``."""
    return _wilson(successes, trials, confidence, "greater")[0]


def _wilson(
    successes: int, trials: int, confidence: float, alternative: str
) -> tuple[float, float]:
    if not 0 < confidence < 1 or not 0 <= successes <= max(trials, 0):
        raise InputError(
            f"interval of {successes} in {trials} at confidence {confidence}: needs 0 <= successes"
            " <= trials and 0 < confidence < 1"
        )
    if trials == 0:
        return 0.0, 1.0
    # Only here: many jobs need no interval, and it takes long to import.
    from scipy import stats

    test = stats.binomtest(int(successes), int(trials), alternative=alternative)
    interval = test.proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def t_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of the mean of normal values (Student 1908).

    Parameters
    ----------
    values
        Shape (n,), n at least 2.
    confidence
        Coverage, between 0 and 1.

    Raises
    ------
    InputError
        If there are fewer than 2 values.
    """
    from scipy import stats

    if len(values) < 2:
        raise InputError(f"interval of {len(values)} replicates", "run at least 2")
    mean, error = float(np.mean(values)), float(stats.sem(values))
    if error == 0:
        return mean, mean
    low, high = stats.t.interval(confidence, len(values) - 1, mean, error)
    return float(low), float(high)
