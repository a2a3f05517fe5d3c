"""Temperature scaling with one temperature for each exit.

Guo et al. (2017, On calibration of modern neural networks, section 4.2): logits are divided by the
temperature that maximises the likelihood of the labels. Predictions do not change; uncertainties
become comparable between exits.

Temperatures are fitted on the half of the calibration split on which policies are fitted. The other
half tests certificates (:mod:`early_exit.calibration.methods.certified`), so it must not be used
here.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from early_exit.errors import InputError
from early_exit.policy.samples import halves
from early_exit.records.table import Records, rows_at_a_time

# Search bounds; beyond them probabilities are practically one-hot, or uniform.
RANGE = (1e-2, 1e2)


def fit(records: Records) -> np.ndarray:
    """Fit the temperature of each exit by minimising the mean negative log-likelihood.

    Uses the first of :func:`early_exit.policy.samples.halves`.

    Returns
    -------
    numpy.ndarray
        Shape (K,).

    Raises
    ------
    InputError
        If the records have no logits.
    """
    if records.logits is None:
        raise InputError("records: temperatures need logits, which were not read")
    exits = range(records.exits)
    return np.array([fit_exit(records.logits[:, k], records.label) for k in exits])


def fit_exit(logits: np.ndarray, label: np.ndarray) -> float:
    """Fit the temperature of one exit from its logits (N, C)."""
    rows = halves(len(label))[0]
    logits, label = logits[rows], label[rows]
    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits, label, np.exp(log)),
        bounds=np.log(RANGE),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def negative_log_likelihood(logits: np.ndarray, label: np.ndarray, temperature: float = 1) -> float:
    """Mean negative log-likelihood of logits (N, C) divided by ``temperature``, in nats."""
    return float(losses(logits, label, temperature).mean())


def losses(logits: np.ndarray, label: np.ndarray, temperature: float = 1) -> np.ndarray:
    """Negative log-likelihood of each sample, shape (N,), in nats."""
    found = np.empty(len(label))
    for start in range(0, len(label), rows_at_a_time(logits)):
        rows = slice(start, start + rows_at_a_time(logits))
        scores = log_softmax(logits[rows].astype(np.float64) / temperature, axis=1)
        found[rows] = -scores[np.arange(len(scores)), label[rows]]
    return found
