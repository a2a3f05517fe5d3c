"""Outcomes of running a network under a policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Outcomes:
    """Predictions, exits and uncertainties of N samples, in input order.

    Attributes
    ----------
    prediction
        Shape (N,), the predicted class.
    exit
        Shape (N,), the exit, from 0.
    uncertainty
        Shape (N,), the uncertainty at that exit.
    """

    prediction: np.ndarray
    exit: np.ndarray
    uncertainty: np.ndarray
