"""One temperature for each exit, so that its probabilities mean what they say.

Guo et al. (2017, On calibration of modern neural networks, section 4.2): logits are divided by the
number that makes the labels most likely. An exit's predictions stay what they are; its
uncertainties become comparable with those of the other exits.

One half of the calibration split is used, that which policies are fitted on: the other tests what
is promised of them (:mod:`early_exit.calibration.certified`), so it must not have had a say.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from early_exit.errors import InputError
from early_exit.records import Records
from early_exit.samples import halves

# Beyond these an exit is as good as certain, or as good as guessing.
RANGE = (1e-2, 1e2)


def fit(records: Records) -> np.ndarray:
    """Shape (K,), the temperature of each exit that minimises its mean negative log-likelihood.

    On the first of :func:`early_exit.samples.halves`.

    Raises
    ------
    InputError
        If the logits were not read.
    """
    if records.logits is None:
        raise InputError("records: temperatures need logits, which were not read")
    rows = halves(len(records))[0]
    exits = range(records.exits)
    return np.array([_fit(records.logits[rows, k], records.label[rows]) for k in exits])


def _fit(logits: np.ndarray, label: np.ndarray) -> float:
    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits, label, np.exp(log)),
        bounds=np.log(RANGE),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def negative_log_likelihood(logits: np.ndarray, label: np.ndarray, temperature: float = 1) -> float:
    """Mean over N samples, in nats, of logits (N, C) divided by ``temperature``."""
    scores = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    return float(-scores[np.arange(len(label)), label].mean())
