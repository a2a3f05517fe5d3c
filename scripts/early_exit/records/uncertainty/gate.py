"""A gate: logistic regression on what the exit and the exits before say.

It sees the largest probability, the entropy, the margin (as the gates of JEI-DNN do, Regol et al.
2024, Jointly-learned exit and inference) and the agreement with earlier exits, and estimates
whether this exit is right. JEI-DNN trains its gates with the network; this one is fitted to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from early_exit.records.uncertainty.backend import like, sigmoid
from early_exit.records.uncertainty.features import seen

EARLIER = True


def step(
    logits: Any, memory: tuple[Any, ...], exit: int, parameters: dict[str, Any]
) -> tuple[Any, None, tuple[Any, ...]]:
    """Estimated probability that this exit is wrong; ``memory`` has the earlier predictions."""
    values, prediction = seen(logits, memory)
    weights = like(logits, parameters["weights"][exit])
    total = sum(weight * value for weight, value in zip(weights, [*values, 1.0], strict=True))
    return sigmoid(total), None, (*memory, prediction)


def fit(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Weights of the features, and the constant, at each exit but the last.

    Parameters
    ----------
    logits, labels
        Shapes (N, K, C) and (N,).

    Returns
    -------
    dict
        ``weights``: for each exit 5 numbers.
    """
    wrong = logits.argmax(axis=2) != labels[:, None]
    return {"weights": weights_for(logits, wrong[:, :-1])}


def weights_for(logits: np.ndarray, outcome: np.ndarray) -> list[list[float]]:
    """Weights with which the features say an ``outcome`` (N, K-1) of each exit."""
    earlier: tuple[Any, ...] = ()
    found = []
    for k in range(outcome.shape[1]):
        values, prediction = seen(logits[:, k].astype(float), earlier)
        found.append(_regression(np.stack(values, axis=1), outcome[:, k]))
        earlier = (*earlier, prediction)
    return found


def _regression(features: np.ndarray, outcome: np.ndarray) -> list[float]:
    """Weights of the features as they are, and the constant."""
    from sklearn.linear_model import LogisticRegression

    none = [0.0] * features.shape[1]
    if outcome.all() or not outcome.any():
        # The rule of succession: nobody is always right.
        share = (outcome.sum() + 1) / (len(outcome) + 2)
        return [*none, float(np.log(share / (1 - share)))]
    middle, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 1e-9, spread, np.inf)
    model = LogisticRegression().fit((features - middle) / spread, outcome)
    weights = model.coef_[0] / spread
    return [*map(float, weights), float(model.intercept_[0] - weights @ middle)]


def maximum(classes: int) -> float:
    """The largest value: 1."""
    return 1.0
