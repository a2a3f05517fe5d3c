"""What running a network under a policy gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Outcomes:
    """What a run gave for each of N samples, in input order.

    Attributes
    ----------
    prediction
        Shape (N,), the class.
    exit
        Shape (N,), the exit taken, from 0.
    uncertainty
        Shape (N,), at the exit taken.
    """

    prediction: np.ndarray
    exit: np.ndarray
    uncertainty: np.ndarray
