"""A threshold for each predicted class and exit, in place of one for each exit.

Each class has an offset from its exit's threshold on the margin, so that its samples are as often
right there as those of other classes. Offsets are shrunk towards 0 the more, the fewer samples tell
them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from early_exit.records.uncertainty.backend import like
from early_exit.records.uncertainty.features import margin

# Largest offset, in units of the margin.
MOST = 0.5
# Precision of the prior of a class's logit: a standard deviation of 0.5.
SHRINKING = 4.0


def step(
    logits: Any, memory: tuple[Any, ...], exit: int, parameters: dict[str, Any]
) -> tuple[Any, None, tuple[Any, ...]]:
    """One minus the margin and the offset of the predicted class, scaled to between 0 and 1."""
    offsets = like(logits, parameters["offsets"][exit])
    shifted = 1 - margin(logits) - offsets[logits.argmax(-1)]
    return (shifted + MOST) / (1 + 2 * MOST), None, ()


def fit(logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Offsets of the classes at each exit but the last.

    A logistic regression of being right on the margin gives the logit that each sample has; a
    Newton step from there, with a normal prior, that of each predicted class.

    Parameters
    ----------
    logits, labels
        Shapes (N, K, C) and (N,).

    Returns
    -------
    dict
        ``offsets``: C numbers for each exit, in units of the margin; positive: exits sooner.
    """
    from sklearn.linear_model import LogisticRegression

    found = []
    for k in range(logits.shape[1] - 1):
        gap = margin(logits[:, k].astype(float))
        prediction = logits[:, k].argmax(axis=1)
        right = prediction == labels
        offsets = np.zeros(logits.shape[2])
        if right.any() and not right.all():
            model = LogisticRegression(C=1e3).fit(gap[:, None], right)
            slope = float(model.coef_[0, 0])
            expected = model.predict_proba(gap[:, None])[:, 1]
            if slope > 0:
                offsets = class_logits(prediction, right, expected, len(offsets)) / slope
        found.append([float(one) for one in offsets.clip(-MOST, MOST)])
    return {"offsets": found}


def class_logits(
    prediction: np.ndarray, right: np.ndarray, expected: np.ndarray, classes: int
) -> np.ndarray:
    """How much more likely, as a logit, samples of each predicted class are right, shrunk."""
    excess = np.bincount(prediction, right - expected, classes)
    weight = np.bincount(prediction, expected * (1 - expected), classes)
    return excess / (weight + SHRINKING)


def maximum(classes: int) -> float:
    """The largest value: 1."""
    return 1.0
