"""Input of calibration methods: uncertainties of samples, and which exits are correct.

Uncertainties are *turned* (negated under the rule ``above``), so that lower ones exit under both
rules and methods handle one direction only. Thresholds are in turned units;
:meth:`Samples.of_policy` turns them back.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.records.table import Records
from early_exit.records.uncertainty import measures

SEED = 0


@dataclass(frozen=True)
class Samples:
    """N samples at K exits.

    Attributes
    ----------
    uncertainty
        Shape (N, K-1), double precision, turned. The final exit takes the remaining samples.
    correct
        Shape (N, K), whether each exit is correct.
    rule
        The exit rule for which the uncertainties were turned.
    span
        Range of the turned measure; infinite if not known.
    scaled
        Whether temperatures were applied, or another criterion with parameters, which were fitted
        to the labels of the first half.
    fitted
        Whether the criterion has parameters: then thresholds are found on the other half.
    all_heads
        Whether the criterion needs the heads of all exits passed.
    """

    uncertainty: np.ndarray
    correct: np.ndarray
    rule: ExitRule = ExitRule.BELOW
    span: tuple[float, float] = (0.0, 1.0)
    scaled: bool = False
    fitted: bool = False
    all_heads: bool = False

    @classmethod
    def of(cls, records: Records, criterion: ExitCriterion) -> Samples:
        """Turned uncertainties of ``records`` by ``criterion``, and which exits are correct."""
        uncertainty = criterion.uncertainty(records)[:, :-1]
        largest = measures.maximum(criterion.measure, records.classes)
        least = 0.0 if np.isfinite(largest) else -np.inf
        rule, fitted = criterion.rule, criterion.fitted
        scaled = fitted or criterion.temperatures is not None
        span = (least, largest) if rule.sign > 0 else (-largest, -least)
        turned = rule.sign * uncertainty.astype(np.float64)
        correct, earlier = criterion.correct(records), criterion.uses_earlier
        return cls(turned, correct, rule, span, scaled, fitted, earlier)

    def __len__(self) -> int:
        return len(self.correct)

    @property
    def exits(self) -> int:
        """K, the number of exits."""
        return self.correct.shape[1]

    @property
    def full_network_accuracy(self) -> float:
        """Accuracy of the final exit, that is of the full network."""
        return float(self.correct[:, -1].mean())

    @cached_property
    def order(self) -> np.ndarray:
        """Shape (N, K-1), indices that sort the samples by each exit's uncertainty."""
        # A view whose columns are contiguous, since methods read one exit at a time.
        return np.argsort(self.exit_uncertainty, axis=1, kind="stable").T

    @cached_property
    def exit_uncertainty(self) -> np.ndarray:
        """Shape (K-1, N), the uncertainties of each exit, in a contiguous row."""
        return np.ascontiguousarray(self.uncertainty.T)

    @cached_property
    def exit_correct(self) -> np.ndarray:
        """Shape (K, N), whether each exit is correct, in a contiguous row."""
        return np.ascontiguousarray(self.correct.T)

    @cached_property
    def ordered(self) -> np.ndarray:
        """Shape (K-1, N), each exit's uncertainties in ascending order."""
        return np.take_along_axis(self.exit_uncertainty, self.order.T, axis=1)

    def counted(self, thresholds: np.ndarray) -> tuple[int, np.ndarray]:
        """Number of correct samples, and of samples that exit at each exit (K,)."""
        uncertainty, correct = self.exit_uncertainty, self.exit_correct
        remaining, right = np.ones(len(self), bool), 0
        counts = np.zeros(self.exits, np.int64)
        for k in np.flatnonzero(np.asarray(thresholds) > -np.inf):
            exits = uncertainty[k] < thresholds[k]
            exits &= remaining
            counts[k] = np.count_nonzero(exits)
            remaining ^= exits
            exits &= correct[k]
            right += np.count_nonzero(exits)
        counts[-1] = np.count_nonzero(remaining)
        return int(right + np.count_nonzero(remaining & correct[-1])), counts

    def taken(self, thresholds: np.ndarray) -> np.ndarray:
        """Shape (N,), the exit of each sample, from 0."""
        return self.next_exit(thresholds, 0)

    def next_exit(self, thresholds: np.ndarray, first: int) -> np.ndarray:
        """Shape (N,), the first exit from ``first`` on at which each sample exits."""
        taken = np.full(len(self), self.exits - 1)
        for k in range(self.exits - 2, first - 1, -1):
            taken[self.uncertainty[:, k] < thresholds[k]] = k
        return taken

    def right(self, taken: np.ndarray) -> np.ndarray:
        """Shape (N,), whether each sample is correct at its exit ``taken``."""
        return self.correct[np.arange(len(self)), taken]

    def select(self, rows: np.ndarray) -> Samples:
        """The samples at ``rows``."""
        return replace(self, uncertainty=self.uncertainty[rows], correct=self.correct[rows])

    def subset(self, most: int) -> Samples:
        """At most ``most`` of the samples, drawn at random with a fixed seed."""
        if len(self) <= most:
            return self
        rows = np.random.default_rng(SEED).choice(len(self), most, replace=False)
        return self.select(np.sort(rows))

    def halves(self) -> tuple[Samples, Samples]:
        """Two fixed halves: one to fit on and one to test on."""
        fitting, testing = halves(len(self))
        return self.select(fitting), self.select(testing)

    def cut(self, exit: int, rows: np.ndarray, count: int) -> float:
        """Threshold at which the first ``count`` of ``rows`` exit, with all tied with the last.

        Parameters
        ----------
        exit
            The exit, from 0.
        rows
            Indices of samples, sorted by their uncertainty at this exit.

        Returns
        -------
        float
            The lowest uncertainty that does not exit, so the choice is invariant under monotone
            transforms of the measure; infinite if all samples exit, minus infinite if none does.
        """
        if count <= 0:
            return -np.inf
        if count >= len(rows):
            return np.inf
        values = self.uncertainty[:, exit]
        last = values[rows[count - 1]]
        first = bisect_right(rows, last, lo=count, key=values.__getitem__)
        return float(values[rows[first]]) if first < len(rows) else np.inf

    def between(self, first: np.ndarray, last: np.ndarray, steps: int) -> np.ndarray:
        """Thresholds from ``first`` to ``last`` in even steps of rank, shape (steps + 1, K-1)."""
        found = np.empty((steps + 1, self.exits - 1))
        for k, ordered in enumerate(self.ordered):
            ranks = [np.searchsorted(ordered, t[k]) for t in (first, last)]
            indices = np.rint(np.linspace(*ranks, steps + 1)).astype(int)
            # Above the last sample's rank all exit.
            inside = ordered[np.minimum(indices, len(ordered) - 1)]
            found[:, k] = np.where(indices < len(ordered), inside, np.inf)
        # No sample exits at rank 0, the most certain sample's uncertainty.
        return np.where(found == self.ordered[:, 0], -np.inf, found)

    def of_policy(self, thresholds: np.ndarray) -> tuple[float, ...]:
        """Turned thresholds in the unit and direction of the measure."""
        return tuple(float(self.rule.sign * t) for t in thresholds)


def held_out(records: Records, criterion: ExitCriterion) -> Records:
    """The samples of the calibration split that the criterion's parameters were not fitted on.

    To those that it was fitted on, it looks better than it is. All, if it has no parameters.
    """
    return records.select(halves(len(records))[1]) if criterion.fitted else records


def halves(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two fixed halves of ``length`` samples: one to fit on and one to test on."""
    fitting, testing = np.array_split(np.random.default_rng(SEED).permutation(length), 2)
    return fitting, testing
