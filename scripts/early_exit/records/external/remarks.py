"""Warnings about external records that can be read but are probably wrong.

Arrays of the right shape may still have the wrong content: probabilities instead of logits, a
confidence instead of an uncertainty, calibration samples in the test split. Results would be wrong
without any error.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from early_exit.records.table import UNKNOWN, Records
from early_exit.statistics.ranking import auroc, spread_of_chance

# Tolerance of sums of 1 computed in half precision.
SUM = 5e-3
# Standard deviations of chance beyond which an AUROC differs from it.
SURE = 4.0


class Probabilities:
    """Detect exits whose logits are probabilities or multiples of them, from pieces of logits."""

    def __init__(self) -> None:
        # For each exit the least and largest logit, and the least and largest sum.
        self._ends: list[np.ndarray] = []

    def update(self, logits: np.ndarray) -> None:
        """Add logits (N, K, C)."""
        sums = logits.sum(axis=2, dtype=np.float64)
        ends = [
            logits.min(axis=(0, 2)),
            logits.max(axis=(0, 2)),
            sums.min(axis=0),
            sums.max(axis=0),
        ]
        if self._ends:
            each = zip((np.minimum, np.maximum) * 2, self._ends, ends, strict=True)
            ends = [extreme(before, now) for extreme, before, now in each]
        self._ends = ends

    def remarks(self) -> list[str]:
        """The warnings, if any."""
        if not self._ends:
            return []
        least, largest, low, high = self._ends
        summed = (least >= 0) & (high > 0) & (high - low <= 2 * SUM * high)
        within = ~summed & (least >= 0) & (largest <= 1) & (largest > least)
        remarks = []
        if summed.any():
            total = np.round(high[summed][0], 2)
            remarks.append(
                f"the logits of {_exits(summed)} are at least 0 and sum to {total:g} for every"
                " sample, as probabilities do; as logits they give wrong uncertainties: give"
                f" their logarithms, np.log(np.clip(probabilities, {1e-12 * total:g}, None))"
            )
        if within.any():
            remarks.append(
                f"the logits of {_exits(within)} all lie between 0 and 1, as outputs of a sigmoid"
                " do; as logits they give wrong uncertainties: give the inputs of the sigmoid"
            )
        return remarks


def of_split(records: Records, rule_sign: int = 1, indexed: bool = False) -> list[str]:
    """Warnings about one split.

    Parameters
    ----------
    rule_sign
        -1 if samples exit above a threshold, so that high is sure; else 1.
    indexed
        Whether the file has an index.
    """
    labelled = bool((records.label != UNKNOWN).all())
    remarks = _ranking(records, rule_sign) + _accuracy(records) if labelled else []
    return remarks + (_indices(records.index) if indexed else [])


def _ranking(records: Records, sign: int) -> list[str]:
    """Warnings about exits whose uncertainty does not separate wrong samples from correct ones.

    The final exit's uncertainty is not used, and only checked if it is the only exit.
    """
    checked = range(max(1, records.exits - 1))
    uncertainty, correct = records.uncertainty, records.correct
    found = np.array([auroc(sign * uncertainty[:, k], correct[:, k]) for k in checked])
    away = np.array([SURE * spread_of_chance(correct[:, k]) for k in checked])
    worse = found < 0.5 - away
    constant = np.ptp(uncertainty[:, : len(checked)], axis=0) == 0
    constant &= len(records) > 1
    least = "Low" if sign > 0 else "High"
    remarks = []
    if worse.any():
        areas = ", ".join(f"{area:.2f}" for area in found[worse])
        remarks.append(
            f"the uncertainty of {_exits(worse)} ranks wrong samples as surer than correct ones"
            f" (area under the ROC curve {areas}; 0.5 is chance). {least} must be sure under this"
            " exit_rule: if it is a confidence, give its negative"
        )
    # Close to chance with so many samples that it cannot be an informative uncertainty.
    idle = ~worse & ~constant & (found + away < 0.55)
    if constant.any():
        remarks.append(
            f"the uncertainty of {_exits(constant)} is the same for all samples, so all or none of"
            " them exit there; give another one"
        )
    if idle.any():
        remarks.append(
            f"the uncertainty of {_exits(idle)} separates wrong samples from correct ones no better"
            " than chance; check that its rows are in the same order as the labels"
        )
    return remarks


def _accuracy(records: Records) -> list[str]:
    """Warning about a final exit no more accurate than a constant prediction."""
    if records.external:
        return []
    share = records.correct[:, -1].mean()
    commonest = np.bincount(records.label).max() / len(records)
    if share > commonest:
        return []
    return [
        f"the final exit is correct on {share:.1%} of the samples, no more than always predicting"
        f" the most common class ({commonest:.1%}); check that labels and outputs are in the same"
        " order, and classes numbered alike"
    ]


def _indices(index: np.ndarray) -> list[str]:
    values, counts = np.unique(index, return_counts=True)
    if (counts == 1).all():
        return []
    first = values[(counts > 1).argmax()]
    return [
        f"{int(counts[counts > 1].sum())} samples share their index with another, first {first}; if"
        " samples are duplicated, as by a padded last batch, intervals and certificates do not"
        " hold: keep each once"
    ]


def in_both(calibration: Records, test: Records) -> int:
    """Number of test samples that equal calibration samples at every exit, to the last digit.

    Samples that equal another in their own split, as rounded uncertainties do, are not counted. The
    number is 0 if as many are expected by chance.
    """
    one, other = _keys(calibration), _keys(test)
    _, group = np.unique(np.concatenate([one, other]), return_inverse=True)
    times = [np.bincount(own, minlength=group.max() + 1) for own in np.split(group, [len(one)])]
    shared = int(((times[0] == 1) & (times[1] == 1)).sum())
    # Equal pairs within a split show how often different samples are equal by chance.
    alike = sum(int((own[own > 1] - 1).sum()) for own in times)
    return shared if shared > 2 * alike else 0


def _keys(records: Records) -> np.ndarray:
    """Hash (N,) of each sample's uncertainties, predictions and label."""
    columns = np.column_stack([records.uncertainty, records.prediction, records.label])
    # + 0.0 turns -0.0 into 0.0.
    return pd.util.hash_pandas_object(pd.DataFrame(columns + 0.0), index=False).to_numpy()


def _exits(chosen: Iterable[bool]) -> str:
    numbers = [str(k) for k, own in enumerate(chosen, start=1) if own]
    return f"exit {numbers[0]}" if len(numbers) == 1 else f"exits {', '.join(numbers)}"
