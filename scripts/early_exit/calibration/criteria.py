"""Parameters of exit criteria, fitted on one half of the calibration split.

That is the half on which temperatures are fitted, too. Thresholds are found, and certificates
tested, on the other: to the samples that it was fitted on, a criterion looks better than it is.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.samples import halves
from early_exit.records.table import Records
from early_exit.records.uncertainty import measures

# Most logits that are fitted on, 128 MB in double precision; fewer samples are taken of more.
VALUES = 2**24
SEED = 0


def fit(records: Records, criterion: ExitCriterion) -> ExitCriterion:
    """The criterion with its parameters fitted; as it is, if it has none.

    Parameters
    ----------
    records
        All of the calibration split, with logits.

    Raises
    ------
    InputError
        If the records have no logits.
    """
    rows = rows_to_fit(len(records), records.exits, records.classes)
    return fit_to(records.select(rows), criterion)


def rows_to_fit(samples: int, exits: int, classes: int) -> np.ndarray:
    """Rows of the calibration split to fit on, ascending.

    They are the first of :func:`early_exit.policy.samples.halves`, of many logits a random part.
    """
    rows = halves(samples)[0]
    most = max(2, VALUES // (exits * classes))
    if len(rows) > most:
        rows = np.random.default_rng(SEED).choice(rows, most, replace=False)
    return np.sort(rows)


def fit_to(records: Records, criterion: ExitCriterion) -> ExitCriterion:
    """As :func:`fit`, to all of these records, which must be of those rows."""
    if not measures.is_fitted(criterion.measure):
        return criterion
    if records.logits is None:
        raise InputError(f"records: the criterion {criterion.measure} needs logits")
    logits = records.logits.astype(np.float64)
    if criterion.temperatures is not None:
        logits /= np.asarray(criterion.temperatures)[:, None]
    found = measures.module(criterion.measure).fit(logits, records.label)
    return replace(criterion, parameters=found)
