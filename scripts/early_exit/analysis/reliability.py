"""Reliability of the exits' probabilities: reliability diagrams, calibration error and AUROC.

Confidence is the largest class probability. The expected calibration error is that of Guo et al.
(2017, section 2): the mean distance between confidence and accuracy over 15 bins of equal width.
AUROC measures how well an uncertainty detects errors (Hendrycks and Gimpel 2017, section 2): 0.5 is
chance, 1 perfect.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.special import softmax

from early_exit.calibration.temperature import losses
from early_exit.records.table import Records
from early_exit.statistics.ranking import auroc

__all__ = ["auroc", "expected_calibration_error", "of_exits", "reliability"]

BINS = 15


def reliability(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Accuracy against confidence, by bins of confidence.

    Parameters
    ----------
    confidence, correct
        Shape (N,), largest class probability, and whether the prediction is correct.

    Returns
    -------
    pandas.DataFrame
        A row for each bin with samples: ``bin`` (from 0), ``samples``, mean ``confidence``,
        ``accuracy``.
    """
    # A confidence on an edge is in the bin below it; 0 is in the first.
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    bin_index = np.searchsorted(edges, confidence, side="left")
    samples = np.bincount(bin_index, minlength=bins)
    filled = samples > 0
    sums = [
        np.bincount(bin_index, weights=w, minlength=bins)[filled] for w in (confidence, correct)
    ]
    return pd.DataFrame(
        {
            "bin": np.flatnonzero(filled),
            "samples": samples[filled],
            "confidence": sums[0] / samples[filled],
            "accuracy": sums[1] / samples[filled],
        }
    )


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Expected calibration error from the table of :func:`reliability`."""
    distance = (table.confidence - table.accuracy).abs()
    return float((distance * table.samples).sum() / table.samples.sum())


def of_exits(
    pieces: Iterable[Records], temperatures: Sequence[float], measures: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reliability of each exit, with and without temperature scaling.

    Parameters
    ----------
    pieces
        Records of a split in pieces, with logits; one piece is in memory at a time.
    temperatures
        K numbers, fitted on other samples.

    Returns
    -------
    tuple of pandas.DataFrame
        A row for each exit (from 1) and scaling: ``temperature``, ``accuracy``, mean
        ``confidence``, ``calibration_error``, ``negative_log_likelihood`` and ``auroc_`` of each
        measure. And the tables of :func:`reliability`, with ``exit`` and ``scaled``.
    """
    outputs = [_outputs(piece, temperatures, measures) for piece in pieces]
    correct = np.concatenate([own[0] for own in outputs])
    rows, tables = [], []
    for scaled in (False, True):
        columns = {
            name: np.concatenate([own[1][scaled][name] for own in outputs])
            for name in ("confidence", "loss", *measures)
        }
        for k, temperature in enumerate(temperatures):
            own_correct = correct[:, k]
            own = {name: column[:, k] for name, column in columns.items()}
            table = reliability(own["confidence"], own_correct).assign(exit=k + 1, scaled=scaled)
            tables.append(table)
            rows.append(
                {
                    "exit": k + 1,
                    "scaled": scaled,
                    "temperature": temperature if scaled else 1.0,
                    "accuracy": own_correct.mean(),
                    "confidence": own["confidence"].mean(),
                    "calibration_error": expected_calibration_error(table),
                    "negative_log_likelihood": own["loss"].mean(),
                    **{f"auroc_{m}": auroc(own[m], own_correct) for m in measures},
                }
            )
    return pd.DataFrame(rows), pd.concat(tables, ignore_index=True)


def _outputs(
    records: Records, temperatures: Sequence[float], measures: Sequence[str]
) -> tuple[np.ndarray, dict[bool, dict[str, np.ndarray]]]:
    """Correctness, and by scaling the outputs of the exits, all of shape (N, K).

    The outputs are ``confidence``, ``loss`` (negative log-likelihood, nats), and the uncertainty by
    each measure.
    """
    found = {}
    for scaled in (False, True):
        used = tuple(temperatures) if scaled else (1.0,) * records.exits
        confidence, loss = np.empty((2, *records.uncertainty.shape))
        for k in range(records.exits):
            logits = records.logits[:, k]
            confidence[:, k] = softmax(logits.astype(np.float64) / used[k], axis=1).max(axis=1)
            loss[:, k] = losses(logits, records.label, used[k])
        own = {m: records.uncertainty_by(m, used) for m in measures}
        found[scaled] = {"confidence": confidence, "loss": loss} | own
    return records.correct, found
