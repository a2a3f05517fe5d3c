"""Bound: what any thresholds can reach at most for a target, on given samples.

For a budget the bound is an upper limit of the accuracy, for an accuracy or a drop a lower limit of
the cost. So the distance of a policy from the optimum is known to be at most the gap to the bound.
The bound is that of :mod:`early_exit.calibration.decomposition`, far below the oracle, which gives
each sample thresholds of its own. Branch and bound (Land and Doig 1960) makes it tighter: the worst
box of thresholds is divided, as long as nodes are left, and run to the end it is the optimum.

Times do not add up. A policy's time is at least what it would be at the least time per sample of
any batch size, and the bound is for these, so that it is less tight in milliseconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from early_exit.calibration.decomposition import TEMPERATURES, Box, Decomposition
from early_exit.calibration.targets import Target, evaluate
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples

# Penalties at which the oracle is tried.
PENALTIES = np.concatenate([[0.0], np.geomspace(0.01, 100.0, 41)])
# Steps of descent for each temperature; in a divided box, at the last two temperatures.
STEPS, STEPS_DIVIDED = 80, 25
# Limits of a quality target are sought at the costs found before.
ROUNDS = 4
# Sums of this many doubles are exact to this.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Bound:
    """What any thresholds can reach for a target.

    Attributes
    ----------
    limit
        Upper limit of the accuracy within a budget; for an accuracy or a drop, lower limit of the
        cost as a share of the full network's. NaN if no thresholds meet the target.
    oracle
        The same if each sample had thresholds of its own.
    reached
        What known thresholds reach, or NaN.
    nodes
        Number of boxes of thresholds that were bounded.
    """

    limit: float
    oracle: float
    reached: float
    nodes: int

    @property
    def gap(self) -> float:
        """How far the known thresholds are from the optimum at most."""
        return abs(self.limit - self.reached)


@dataclass(frozen=True)
class _Node:
    """A box, its score (larger is more promising), and a point of the dual to go on from."""

    box: Box
    score: float
    point: np.ndarray


def bound(
    samples: Samples,
    costs: UnitCosts,
    target: Target,
    known: np.ndarray | None = None,
    nodes: int = 1,
    steps: int = STEPS,
) -> Bound:
    """Bound what any thresholds can reach on ``samples``.

    Parameters
    ----------
    known
        Thresholds (K-1,) that meet the target: what the bound is compared with, and boxes that
        cannot be better are not divided.
    nodes
        Most boxes to bound; 1 is the decomposition alone. The time is for each some 5 x ``steps``
        passes over samples and exits for the first box, and less for others.
    steps
        Steps of descent for each temperature.
    """
    search = _BranchAndBound(samples, costs, target)
    reached = np.nan if known is None else search.reached(known)
    score = -np.inf if np.isnan(reached) else search.sign * reached
    limit, bounded = search.run(score, nodes, steps)
    oracle = search.oracle()
    finite = np.isfinite(limit)
    return Bound(search.sign * limit if finite else np.nan, search.sign * oracle, reached, bounded)


class _BranchAndBound:
    """Best-first branch and bound; scores are accuracies, or costs with a minus."""

    def __init__(self, samples: Samples, costs: UnitCosts, target: Target) -> None:
        self.samples, self.costs = samples, costs
        self.dual = Decomposition(samples, costs)
        self.quality = target.is_quality
        self.sign = -1.0 if self.quality else 1.0
        if self.quality:
            self.least = target.least_correct(samples) / len(samples)
        else:
            self.budget = target.most_cost(costs) / costs.full_network * (1 + ROUNDING)

    def reached(self, thresholds: np.ndarray) -> float:
        """Accuracy or cost of thresholds that meet the target, else NaN."""
        result = evaluate(self.samples, self.costs, thresholds)
        accuracy = result.correct[0] / len(self.samples)
        cost = result.cost[0] / self.costs.full_network
        if self.quality:
            return float(cost) if accuracy >= self.least - ROUNDING else np.nan
        return float(accuracy) if cost <= self.budget + ROUNDING else np.nan

    def score(self, cut: tuple[float, float]) -> float:
        """The best score below a cut: accuracy at most a + b x cost."""
        base, slope = cut
        if not self.quality:
            return min(1.0, base + slope * self.budget + ROUNDING)
        if base >= self.least - ROUNDING or slope == 0:
            return 0.0 if base >= self.least - ROUNDING else -np.inf
        return -(self.least - base) / slope + ROUNDING

    def oracle(self) -> float:
        """Score of the oracle."""
        whole = self.dual.whole()
        return min(self.score(self.dual.cut(whole, self.dual.start(p))) for p in PENALTIES)

    def run(self, known: float, nodes: int, steps: int) -> tuple[float, int]:
        """The highest score that may exist, and the number of boxes bounded."""
        root = self._bounded(self.dual.whole(), None, steps)
        best, bounded, tie = known, 1, count()
        open_nodes = [(-root.score, next(tie), root)]
        while open_nodes and bounded < nodes and -open_nodes[0][0] > best + ROUNDING:
            *_, node = heapq.heappop(open_nodes)
            for box in self._divided(node):
                bounded += 1
                own = self._single(box)
                if own is not None:
                    best = max(best, own)
                    continue
                child = self._bounded(box, node, min(steps, STEPS_DIVIDED))
                if child.score > best:
                    heapq.heappush(open_nodes, (-child.score, next(tie), child))
        return max(best, -open_nodes[0][0] if open_nodes else -np.inf), bounded

    def _bounded(self, box: Box, parent: _Node | None, steps: int) -> _Node:
        """A box with its score, never above that of the box that it is part of."""
        if parent is None:
            point, best, temperatures = self.dual.start(0.1), self.oracle(), TEMPERATURES
        else:
            point, best, temperatures = parent.point, parent.score, TEMPERATURES[-2:]
        for _ in range(ROUNDS if self.quality and parent is None else 1):
            # As in Newton's method, the limit found at one cost is where the next is sought.
            at = -best if self.quality else self.budget
            point = self.dual.improved(box, point, at, temperatures, steps)
            best = min(best, self.score(self.dual.cut(box, point)))
            temperatures = TEMPERATURES[-2:]
        return _Node(box, best, point)

    def _single(self, box: Box) -> float | None:
        """Score of a box of one policy; minus infinity if it misses the target."""
        if (box.least < box.most).any():
            return None
        ordered = np.take_along_axis(self.samples.uncertainty.T, self.dual.order, axis=1)
        ordered = np.append(ordered, np.full((len(ordered), 1), np.inf), axis=1)
        values = ordered[np.arange(len(ordered)), box.most]
        own = self.reached(np.where(box.most == 0, -np.inf, values))
        return -np.inf if np.isnan(own) else self.sign * own

    def _divided(self, node: _Node) -> Iterator[Box]:
        """Two boxes: the exit on whose threshold the dual is least decided is divided there."""
        weights = self.dual.leanings(node.box, node.point)
        middle = (np.cumsum(weights, axis=1) < 0.5).sum(axis=1)
        spread = (weights * np.abs(np.arange(weights.shape[1]) - middle[:, None])).sum(axis=1)
        width = node.box.most - node.box.least
        # Without a spread, the widest.
        exit = int(np.where(width > 0, spread + 1e-6 * width, -1.0).argmax())
        allowed = np.flatnonzero(self.dual.ends[exit])
        allowed = allowed[(allowed >= node.box.least[exit]) & (allowed <= node.box.most[exit])]
        place = int(np.searchsorted(allowed, middle[exit]))
        place = min(max(place, 0), len(allowed) - 2)
        for least, most in ((allowed[0], allowed[place]), (allowed[place + 1], allowed[-1])):
            low, high = node.box.least.copy(), node.box.most.copy()
            low[exit], high[exit] = least, most
            yield Box(low, high)
