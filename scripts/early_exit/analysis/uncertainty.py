"""Histograms of the uncertainty at each exit, of right and of wrong predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd

BINS = 40


def histograms(uncertainty: np.ndarray, correct: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """Numbers of right and wrong predictions by exit and uncertainty.

    Parameters
    ----------
    uncertainty, correct
        Shape (N, K), the uncertainty at each exit, and whether its prediction is correct.

    Returns
    -------
    pandas.DataFrame
        A row for each ``exit`` (from 1) and bin: its ends ``low`` and ``high``, the same for all
        exits, and the numbers of predictions that are ``right`` and ``wrong``.
    """
    finite = uncertainty[np.isfinite(uncertainty)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    tables = []
    for k in range(uncertainty.shape[1]):
        # What is infinite is in the bin at that end.
        values = np.clip(uncertainty[:, k], edges[0], edges[-1])
        counts = [np.histogram(values[correct[:, k] == right], edges)[0] for right in (True, False)]
        own = {"exit": k + 1, "low": edges[:-1], "high": edges[1:]}
        tables.append(pd.DataFrame(own | {"right": counts[0], "wrong": counts[1]}))
    return pd.concat(tables, ignore_index=True)
