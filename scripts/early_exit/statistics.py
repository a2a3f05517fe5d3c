"""Intervals that say how far a measured share can be trusted."""

from __future__ import annotations

import math
from statistics import NormalDist

from early_exit.errors import InputError


def wilson_interval(successes: float, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided Wilson score interval of a share (Wilson 1927; Brown, Cai and DasGupta 2001).

    Parameters
    ----------
    successes, trials
        Counts, ``0 <= successes <= trials``.
    confidence
        Coverage, between 0 and 1.

    Returns
    -------
    tuple of float
        Lower and upper end, within [0, 1]. Without a trial: (0, 1).

    Raises
    ------
    InputError
        If the counts or the confidence are out of range.
    """
    _check(successes, trials, confidence)
    return _wilson(successes, trials, NormalDist().inv_cdf(0.5 + confidence / 2))


def wilson_lower_bound(successes: float, trials: int, confidence: float = 0.95) -> float:
    """One-sided lower bound of a share: the true one is above it with ``confidence``."""
    _check(successes, trials, confidence)
    return _wilson(successes, trials, NormalDist().inv_cdf(confidence))[0]


def _check(successes: float, trials: int, confidence: float) -> None:
    if not 0 < confidence < 1 or not 0 <= successes <= max(trials, 0):
        raise InputError(f"interval of {successes} in {trials} at confidence {confidence}")


def _wilson(successes: float, trials: int, z: float) -> tuple[float, float]:
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # Without failures (or successes) the end is exact; rounding must not move it past the share.
    lower = 0.0 if successes == 0 else max(0.0, (centre - half) / scale)
    upper = 1.0 if successes == trials else min(1.0, (centre + half) / scale)
    return lower, upper
