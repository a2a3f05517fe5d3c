"""What a calibration method sees: each sample's uncertainties and whether each exit is right.

Uncertainties are turned so that *lower leaves*, whatever the exit rule: a method knows one
direction only. Thresholds are in these turned units; :meth:`Samples.of_policy` turns them back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from early_exit import uncertainty as measures
from early_exit.policy import ExitRule, Policy
from early_exit.records import Records

SEED = 0


@dataclass(frozen=True)
class Samples:
    """N samples at K exits.

    Attributes
    ----------
    uncertainty
        Shape (N, K-1), double precision, turned so that lower leaves. The last exit takes the rest.
    correct
        Shape (N, K), whether each exit is right.
    rule
        The exit rule that the uncertainties were turned for.
    span
        The least and the largest value that a turned uncertainty can have, whatever the samples;
        infinite where that is not known.
    scaled
        Whether temperatures have scaled them, for which the labels of the first half were used.
    """

    uncertainty: np.ndarray
    correct: np.ndarray
    rule: ExitRule = ExitRule.BELOW
    span: tuple[float, float] = (0.0, 1.0)
    scaled: bool = False

    @classmethod
    def of(cls, records: Records, policy: Policy) -> Samples:
        """The records as ``policy`` (its measure, rule and temperatures) sees them."""
        seen = records.uncertainty(policy.measure, policy.temperatures)[:, :-1]
        largest = measures.maximum(policy.measure, records.classes)
        least = 0.0 if np.isfinite(largest) else -np.inf
        span = (least, largest) if policy.rule.sign > 0 else (-largest, -least)
        turned = policy.rule.sign * seen.astype(np.float64)
        return cls(turned, records.correct, policy.rule, span, policy.temperatures is not None)

    def __len__(self) -> int:
        return len(self.correct)

    @property
    def exits(self) -> int:
        """K, the number of exits."""
        return self.correct.shape[1]

    @property
    def whole_accuracy(self) -> float:
        """The accuracy of the last exit, the whole network's."""
        return float(self.correct[:, -1].mean())

    @cached_property
    def order(self) -> np.ndarray:
        """Shape (N, K-1), the samples sorted by each exit's uncertainty."""
        return np.argsort(self.uncertainty, axis=0, kind="stable")

    def taken(self, thresholds: np.ndarray) -> np.ndarray:
        """Shape (N,), the exit at which each sample leaves, from 0."""
        return self.next_exit(thresholds, 0)

    def next_exit(self, thresholds: np.ndarray, first: int) -> np.ndarray:
        """Shape (N,), the first exit from ``first`` on at which each sample would leave."""
        taken = np.full(len(self), self.exits - 1)
        for k in range(self.exits - 2, first - 1, -1):
            taken[self.uncertainty[:, k] < thresholds[k]] = k
        return taken

    def right(self, taken: np.ndarray) -> np.ndarray:
        """Shape (N,), whether each sample is right at the exit that it takes."""
        return self.correct[np.arange(len(self)), taken]

    def select(self, rows: np.ndarray) -> Samples:
        """The samples at ``rows``."""
        return replace(self, uncertainty=self.uncertainty[rows], correct=self.correct[rows])

    def halves(self) -> tuple[Samples, Samples]:
        """Two halves, always the same: one to fit on, and one to test on."""
        fitting, testing = halves(len(self))
        return self.select(fitting), self.select(testing)

    def cut(self, exit: int, rows: np.ndarray, leave: int) -> float:
        """The threshold at which the first ``leave`` of ``rows`` leave, and all tied with the last.

        Parameters
        ----------
        exit
            From 0.
        rows
            Samples, sorted by their uncertainty at this exit.

        Returns
        -------
        float
            The lowest uncertainty that stays, so that it moves with a monotone transform of the
            measure; infinite where nobody stays, minus infinite where nobody leaves.
        """
        if leave <= 0:
            return -np.inf
        ordered = self.uncertainty[rows, exit]
        if leave >= len(ordered):
            return np.inf
        stays = np.searchsorted(ordered, ordered[leave - 1], side="right")
        return float(ordered[stays]) if stays < len(ordered) else np.inf

    def between(self, first: np.ndarray, last: np.ndarray, steps: int) -> np.ndarray:
        """Shape (steps + 1, K-1): from ``first`` to ``last`` thresholds in even steps of rank."""
        ordered = np.take_along_axis(self.uncertainty, self.order, axis=0)
        found = np.empty((steps + 1, self.exits - 1))
        for k in range(self.exits - 1):
            ranks = [np.searchsorted(ordered[:, k], t[k]) for t in (first, last)]
            places = np.rint(np.linspace(*ranks, steps + 1)).astype(int)
            found[:, k] = np.append(ordered[:, k], np.inf)[places]
        # A rank of 0 is the surest sample's, below which nobody leaves.
        return np.where(found == ordered[0], -np.inf, found)

    def of_policy(self, thresholds: np.ndarray) -> tuple[float, ...]:
        """Turned thresholds in the unit and direction of the measure."""
        return tuple(float(self.rule.sign * t) for t in thresholds)


def halves(length: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of two halves of so many samples: one to fit on, and one to test on."""
    fitting, testing = np.array_split(np.random.default_rng(SEED).permutation(length), 2)
    return fitting, testing
