"""Levels: the thresholds of each exit that a search chooses from, and the samples' codes.

A *cut* is an index into an exit's levels: 0 where no sample exits and the head does not run, the
last where all do. A sample exits if its code is below the cut, so that tied samples exit together.
"""

from __future__ import annotations

import numpy as np

from early_exit.policy.samples import Samples


class Levels:
    """Thresholds that a search may choose from.

    Attributes
    ----------
    values
        K-1 ascending arrays of thresholds, from minus infinity to infinity.
    """

    def __init__(self, values: list[np.ndarray]) -> None:
        self.values = values

    @classmethod
    def spread(cls, samples: Samples, count: int) -> Levels:
        """At most ``count`` quantiles of each exit's uncertainty."""
        quantiles = np.linspace(0, 1, count + 2)[1:-1]
        found = np.quantile(samples.uncertainty, quantiles, axis=0, method="higher").T
        return cls([_ended(row, samples.uncertainty[:, k]) for k, row in enumerate(found)])

    @classmethod
    def around(cls, samples: Samples, thresholds: np.ndarray, count: int, finest: int) -> Levels:
        """``count`` quantiles, ``thresholds`` (K-1,), and values nearby, ever closer to them.

        The nearest are ``finest`` samples away, the others twice as far each.
        """
        size = len(samples)
        steps = finest * 2 ** np.arange(max(1, int(np.log2(max(2, size / finest / count)))))
        offsets = np.concatenate([-steps[::-1], [0], steps])
        wide = (np.linspace(0, 1, count + 2)[1:-1] * size).astype(int)
        values = []
        for k, threshold in enumerate(thresholds):
            ordered = samples.uncertainty[samples.order[:, k], k]
            # Where no or all samples exit, few or many of them may.
            rank = np.searchsorted(ordered, threshold)
            ranks = np.concatenate([wide, np.clip(rank + offsets, 0, size - 1)])
            own = [threshold] if np.isfinite(threshold) else []
            values.append(_ended(np.concatenate([ordered[ranks], own]), ordered))
        return cls(values)

    def thresholds(self, cuts: np.ndarray) -> np.ndarray:
        """Thresholds (K-1,) of ``cuts`` (K-1,)."""
        return np.array([own[cut] for own, cut in zip(self.values, cuts, strict=True)])

    def cuts(self, thresholds: np.ndarray) -> np.ndarray:
        """The cuts (K-1,) nearest above ``thresholds`` (K-1,)."""
        pairs = zip(self.values, thresholds, strict=True)
        return np.array([np.searchsorted(own, threshold) for own, threshold in pairs])

    def codes(self, samples: Samples) -> np.ndarray:
        """For each exit and sample, the number of levels that don't let it exit, (K-1, N)."""
        columns = zip(self.values, samples.uncertainty.T, strict=True)
        return np.stack([np.searchsorted(own[1:], u, side="right") for own, u in columns])


def _ended(values: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """Sorted distinct ``values`` between infinities; at the least uncertainty no sample exits."""
    inner = np.unique(values)
    return np.concatenate([[-np.inf], inner[inner > uncertainty.min()], [np.inf]])
