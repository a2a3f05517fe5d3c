"""How far an exit's probabilities can be trusted: reliability, calibration error, ranking.

Confidence is the largest class probability. The expected calibration error is that of Guo et al.
(2017, section 2): the mean distance between confidence and accuracy over 15 bins of equal width.
How well an uncertainty tells right from wrong is the area under the ROC curve, as in Hendrycks and
Gimpel (2017, section 2): 0.5 is chance, 1 perfect.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import softmax
from scipy.stats import rankdata

from early_exit.records import Records
from early_exit.temperature import negative_log_likelihood

BINS = 15


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Accuracy against confidence.

    Parameters
    ----------
    confidence, correct
        Shape (N,), largest probabilities, and whether the class is right.

    Returns
    -------
    pandas.DataFrame
        A row for each bin that holds samples: ``bin`` (from 0), ``samples``, mean ``confidence``,
        ``accuracy``.
    """
    # A confidence on an edge belongs to the bin below it; 0 to the first.
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    place = np.searchsorted(edges, confidence, side="left")
    samples = np.bincount(place, minlength=bins)
    held = samples > 0
    sums = [np.bincount(place, weights=w, minlength=bins)[held] for w in (confidence, correct)]
    return pd.DataFrame(
        {
            "bin": np.flatnonzero(held),
            "samples": samples[held],
            "confidence": sums[0] / samples[held],
            "accuracy": sums[1] / samples[held],
        }
    )


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Mean distance of confidence and accuracy, from the table of :func:`reliability`."""
    distance = (table.confidence - table.accuracy).abs()
    return float((distance * table.samples).sum() / table.samples.sum())


def auroc(uncertainty: np.ndarray, correct: np.ndarray) -> float:
    """The probability that a wrong sample is less sure than a right one; ties count half.

    NaN where all are right or all are wrong.
    """
    wrong = int((~correct).sum())
    right = len(correct) - wrong
    if not wrong or not right:
        return float("nan")
    ranks = rankdata(uncertainty)[~correct].sum()
    return float((ranks - wrong * (wrong + 1) / 2) / (wrong * right))


def of_exits(
    records: Records, temperatures: Sequence[float], measures: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The quality of each exit, with its logits as they are and divided by its temperature.

    Parameters
    ----------
    records
        With logits.
    temperatures
        K of them, fitted on other samples.

    Returns
    -------
    tuple of pandas.DataFrame
        A row for each exit (from 1) and scaling: ``temperature``, ``accuracy``, mean
        ``confidence``, ``calibration_error``, ``negative_log_likelihood`` and ``auroc_`` of each
        measure. And the reliability tables, with ``exit`` and ``scaled``.
    """
    rows, tables = [], []
    for scaled in (False, True):
        used = tuple(temperatures) if scaled else (1.0,) * records.exits
        seen = {m: records.uncertainty(m, used) for m in measures}
        for k in range(records.exits):
            logits, correct = records.logits[:, k], records.correct[:, k]
            confidence = softmax(logits.astype(np.float64) / used[k], axis=1).max(axis=1)
            table = reliability(confidence, correct).assign(exit=k + 1, scaled=scaled)
            tables.append(table)
            rows.append(
                {
                    "exit": k + 1,
                    "scaled": scaled,
                    "temperature": used[k],
                    "accuracy": correct.mean(),
                    "confidence": confidence.mean(),
                    "calibration_error": expected_calibration_error(table),
                    "negative_log_likelihood": negative_log_likelihood(
                        logits, records.label, used[k]
                    ),
                    **{f"auroc_{m}": auroc(u[:, k], correct) for m, u in seen.items()},
                }
            )
    return pd.DataFrame(rows), pd.concat(tables, ignore_index=True)
