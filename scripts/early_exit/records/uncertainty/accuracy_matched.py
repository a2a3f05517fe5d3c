"""The accuracy that held-out samples of similar confidence had at this exit.

As in performance control (arXiv 2412.19325): a threshold is an accuracy, the same for all exits,
not a confidence, which means something else at each. The accuracy is an isotonic regression on the
largest probability, which breaks ties.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from early_exit.records.uncertainty.backend import arrays, like, log_softmax

# Most points of an exit's curve.
POINTS = 32
# Weight of the confidence itself, which breaks ties.
TIES = 0.01


def step(
    logits: Any, memory: tuple[Any, ...], exit: int, parameters: dict[str, Any]
) -> tuple[Any, None, tuple[Any, ...]]:
    """One minus the accuracy at this confidence."""
    functions = arrays(logits)
    confidence = functions.exp(functions.amax(log_softmax(logits), -1))
    known = like(logits, parameters["confidence"][exit])
    accuracy = like(logits, parameters["accuracy"][exit])
    after = functions.clip(functions.searchsorted(known, confidence), 1, len(known) - 1)
    low, high = known[after - 1], known[after]
    share = functions.clip((confidence - low) / (high - low), 0, 1)
    expected = accuracy[after - 1] + share * (accuracy[after] - accuracy[after - 1])
    return 1 - (1 - TIES) * expected - TIES * confidence, None, ()


def fit(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The accuracy at some confidences, for each exit but the last.

    Parameters
    ----------
    logits, labels
        Shapes (N, K, C) and (N,).

    Returns
    -------
    dict
        ``confidence``, ascending, and the ``accuracy`` at each, at most 32 for an exit.
    """
    from sklearn.isotonic import IsotonicRegression

    confidences, accuracies = [], []
    for k in range(logits.shape[1] - 1):
        confidence = np.exp(log_softmax(logits[:, k].astype(float)).max(axis=1))
        right = logits[:, k].argmax(axis=1) == labels
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(confidence, right)
        # Different in single precision too, in which a network compares.
        levels = np.quantile(confidence, np.linspace(0, 1, POINTS))
        points = np.unique(levels.astype(np.float32))
        if len(points) < 2:
            points = np.array([points[0], points[0] + 1])
        confidences.append([float(point) for point in points])
        accuracies.append([float(value) for value in curve.predict(points)])
    return {"confidence": confidences, "accuracy": accuracies}


def maximum(classes: int) -> float:
    """The largest value: 1."""
    return 1.0
