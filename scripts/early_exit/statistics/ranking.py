"""AUROC of an uncertainty for wrong against correct samples, and its spread by chance."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import rankdata


def auroc(uncertainty: np.ndarray, correct: np.ndarray) -> float:
    """Probability that a wrong sample is more uncertain than a correct one; ties count half.

    NaN if all samples are correct or all are wrong.
    """
    wrong = int((~correct).sum())
    others = len(correct) - wrong
    if not wrong or not others:
        return float("nan")
    ranks = rankdata(uncertainty)[~correct].sum()
    return float((ranks - wrong * (wrong + 1) / 2) / (wrong * others))


def spread_of_chance(correct: np.ndarray) -> float:
    """Standard deviation of :func:`auroc` for an uninformative uncertainty.

    Mann and Whitney (1947), without ties, which make it smaller.
    """
    wrong = int((~correct).sum())
    others = len(correct) - wrong
    return math.sqrt((len(correct) + 1) / (12 * wrong * others)) if wrong and others else math.inf
