"""Agreement of a run of the network with its simulation from records.

A policy is run on a split, samples exiting early, and compared with its simulation, sample by
sample. Both use single precision, but other batch sizes, so sums may differ in the last digits. A
sample whose uncertainty is within ``TIE`` of a threshold, at an exit up to the earlier one of the
two, is a tie and counted apart. Records are made in the precision of the run; further differences
of a run in lower precision are resolved by :mod:`early_exit.inference.rerun`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from early_exit.errors import InputError
from early_exit.policy.outcomes import Outcomes
from early_exit.policy.policy import Policy
from early_exit.records.table import Records
from early_exit.records.uncertainty import measures

TIE = 1e-5
# Spacing of numbers next to 1, by precision; of the 256 of int8 on a range of twice that.
SPACING = {"fp32": 2.0**-23, "bf16": 2.0**-7, "int8": 2.0**-7}


@dataclass(frozen=True)
class Agreement:
    """Counts of samples by agreement of run and simulation; they add up to N.

    Attributes
    ----------
    equal
        Samples with the same exit and class.
    ties
        Samples near a threshold that exited there in only one of the two.
    different
        Samples that differ by more than rounding explains.
    rounded
        Samples that differ just as the full network does in the precision of the run.
    """

    equal: int
    ties: int
    different: int
    rounded: int = 0

    @classmethod
    def of(cls, equal: np.ndarray, near: np.ndarray) -> Agreement:
        """Counts from masks (N,) of equal samples and of those near a threshold."""
        return cls(int(equal.sum()), int((~equal & near).sum()), int((~equal & ~near).sum()))


def explained_by(precision: str, policy: Policy, records: Records) -> float:
    """Largest change of an uncertainty that rounding to a precision may explain.

    Half of the digits, times the measure's range: ten times what the networks here lose, and far
    less than the difference of two networks. A measure without a known range has that of a
    probability, or the largest number in the records if that is larger.
    """
    largest = measures.maximum(policy.measure, records.classes)
    if not np.isfinite(largest):
        largest = _scale(policy, records)
    return SPACING[precision] ** 0.5 * largest


def _scale(policy: Policy, records: Records) -> float:
    """Size of the uncertainties, of which rounding is a share; 1 for measures of a known range."""
    if np.isfinite(measures.maximum(policy.measure, records.classes)):
        return 1.0
    return max(1.0, float(np.abs(policy.criterion.uncertainty(records)).max(initial=0)))


def compare(
    policy: Policy, records: Records, run: Outcomes, precision: str = "fp32", tie: float = TIE
) -> Agreement:
    """Agreement of a run with its simulation; errors as of :func:`alike`."""
    return Agreement.of(*alike(policy, records, run, precision, tie))


def alike(
    policy: Policy, records: Records, run: Outcomes, precision: str = "fp32", tie: float = TIE
) -> tuple[np.ndarray, np.ndarray]:
    """Masks (N,) of samples that agree, and of those that are ties if they don't.

    A sample agrees if it has the same exit and class, and an uncertainty that differs by no more
    than the ``precision`` of the run explains. A tie has the recorded class at its exit.

    Raises
    ------
    InputError
        If the run has another number of samples than the records.
    """
    if len(run.exit) != len(records):
        raise InputError(
            f"evaluation: {len(run.exit)} samples were run, but the records have {len(records)}"
        )
    uncertainty = policy.criterion.uncertainty(records).astype(np.float64)
    taken = policy.exits_taken(uncertainty)
    rows = np.arange(len(records))
    most = explained_by(precision, policy, records)
    # False for NaN.
    close = np.abs(run.uncertainty - uncertainty[rows, run.exit]) <= most
    same_class = close & (run.prediction == policy.criterion.prediction(records)[rows, run.exit])
    tie *= _scale(policy, records)
    near = near_on_the_way(policy, uncertainty, run.exit, taken, tie)
    return same_class & (run.exit == taken), same_class & near


def near_on_the_way(
    policy: Policy,
    uncertainty: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    tie: float | np.ndarray = TIE,
) -> np.ndarray:
    """Shape (N,), whether a sample was near a threshold up to the earlier of two exits.

    Thresholds of later exits cannot explain a difference.
    """
    on_its_way = np.arange(policy.exits - 1) <= np.minimum(one, other)[:, None]
    return (near_threshold(policy, uncertainty, tie) & on_its_way).any(axis=1)


def near_threshold(
    policy: Policy, uncertainty: np.ndarray, tie: float | np.ndarray = TIE
) -> np.ndarray:
    """Shape (N, K-1), whether a sample's uncertainty is within ``tie`` of an exit's threshold.

    ``tie`` is one number, or an array with one for each exit but the last.
    """
    return np.abs(uncertainty[:, :-1] - np.asarray(policy.thresholds)) <= tie
