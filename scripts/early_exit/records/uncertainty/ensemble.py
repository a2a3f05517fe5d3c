"""Ensemble of the exits passed (Wolczyk et al. 2021, Zero time waste).

Their probabilities are multiplied, each to the power of a fitted weight, and normalised. The
prediction is the ensemble's, and its margin says whether to exit. Unlike in the paper classes have
no weights, and the final exit predicts alone, so that the full network is a policy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from early_exit.records.uncertainty.backend import like, log_softmax
from early_exit.records.uncertainty.features import margin

EARLIER = True


def step(
    logits: Any, memory: tuple[Any, ...], exit: int, parameters: dict[str, Any]
) -> tuple[Any, Any, tuple[Any, ...]]:
    """One minus the margin of the ensemble, and its prediction.

    ``memory`` has the logarithms of the probabilities of the exits before.
    """
    memory = (*memory, log_softmax(logits))
    weights = like(logits, parameters["weights"][exit])
    mixed = sum(weight * log for weight, log in zip(weights, memory, strict=True))
    return 1 - margin(mixed), mixed.argmax(-1), memory


def fit(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Weights of the ensemble at each exit but the last, those with the largest likelihood.

    Parameters
    ----------
    logits, labels
        Shapes (N, K, C) and (N,).

    Returns
    -------
    dict
        ``weights``: for exit k, from 1 to K-1, k numbers, not negative.
    """
    from scipy.optimize import minimize

    logs = [log_softmax(logits[:, k].astype(float)) for k in range(logits.shape[1] - 1)]
    rows = np.arange(len(labels))
    right = np.array([log[rows, labels] for log in logs])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        """Mean negative log-likelihood of the first exits' ensemble, and its gradient."""
        mixed = log_softmax(sum(w * log for w, log in zip(weights, logs, strict=False)))
        shares = np.exp(mixed)
        expected = np.stack([(shares * logs[i]).sum(axis=1) for i in range(len(weights))])
        return float(-mixed[rows, labels].mean()), (expected - right[: len(weights)]).mean(axis=1)

    found: list[list[float]] = []
    for count in range(1, len(logs) + 1):
        # The exits before keep half of their say, to begin with.
        start = np.append(np.array(found[-1] if found else []) / 2, 0.5 if found else 1.0)
        result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, 10)] * count)
        found.append([float(weight) for weight in result.x])
    return {"weights": found}


def maximum(classes: int) -> float:
    """The largest value: 1."""
    return 1.0
