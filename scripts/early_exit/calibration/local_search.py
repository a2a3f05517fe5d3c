"""Iterated local search for the thresholds of networks with many exits.

Coordinate descent stops where no change of a single threshold helps. With many exits there are many
such local optima: within a budget, one exit cannot let more samples go on unless another lets more
of them exit, and an exit made redundant by its neighbour stays on. So the moves here change two
thresholds at once as well (:mod:`early_exit.calibration.moves`), and iterated local search
(Lourenço, Martin and Stützle 2003) changes some at random, descends again, and keeps improvements.

The search runs on some levels an exit and, of a large set, on some of the samples. What it finds is
then improved on all samples, with levels that get finer near each threshold. The seed is fixed, so
that the same samples give the same thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit.calibration.levels import Levels
from early_exit.calibration.moves import BETTER, Goal, Moves
from early_exit.calibration.targets import Target
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples

SEED = 0
# Larger sets are searched on a random subset; the result is improved on another, and then on all.
MOST_SAMPLES, MOST_PAIRED = 10_000, 50_000
# Levels of an exit in the search; when its result is improved, as many and finer ones around it.
LEVELS, LEVELS_AROUND = 200, 20
# Levels for the last changes, of one threshold each.
LEVELS_ALONE = 2000
# Points of accuracy that the full network's cost is worth, as a share.
PENALTIES = np.geomspace(0.003, 10.0, 28)
# Random changes for each target, and exits in all of them: those of more exits take longer.
KICKS, EXITS_KICKED = (6, 18), 240
# Best starts that are climbed from, for each target.
STARTS = 10
MOST_SWEEPS = 30
# A climb that ends this far behind the best is not worth pairwise moves.
HOPELESS = 0.01
# Penalty for missing a target; exceeds the value of all policies that meet it.
OUTSIDE = 1e6


def search(
    samples: Samples,
    costs: UnitCosts,
    targets: Sequence[Target],
    starts: Sequence[np.ndarray] = (),
    kicks: int | None = None,
    seed: int = SEED,
) -> np.ndarray:
    """Thresholds (P, K-1) found for all ``targets``, and on the way.

    Parameters
    ----------
    starts
        Thresholds (K-1,) found in other ways.
    kicks
        Random changes for each target, from 6 with 40 exits to 18 with 13.
    """
    kicks = kicks or int(np.clip(EXITS_KICKED // samples.exits, *KICKS))
    few = samples.subset(MOST_SAMPLES)
    ours = Search(Moves(few, costs, Levels.spread(few, LEVELS)), seed)
    levels = ours.moves.levels
    pool = ours.path() + [levels.cuts(start) for start in starts]
    found = []
    for target in targets:
        # Targets share what they find.
        pool.append(ours.at_target(pool, goal_of(target, few, costs), kicks))
        found.append(polished(samples, costs, levels.thresholds(pool[-1]), target))
    return np.unique([*(levels.thresholds(cuts) for cuts in pool), *found], axis=0)


def polished(
    samples: Samples, costs: UnitCosts, thresholds: np.ndarray, target: Target
) -> np.ndarray:
    """Thresholds (K-1,) improved by levels that get finer around them, and on more samples."""
    some = samples.subset(MOST_PAIRED)
    goal = goal_of(target, some, costs)
    for finest in (max(1, len(some) // 1000), 1):
        levels = Levels.around(some, thresholds, LEVELS_AROUND, finest)
        cuts, _ = climbed(Moves(some, costs, levels), levels.cuts(thresholds), goal)
        thresholds = levels.thresholds(cuts)
    # Single changes are cheap, and so may be fine everywhere.
    levels = Levels.around(samples, thresholds, LEVELS_ALONE, 1)
    goal = goal_of(target, samples, costs)
    cuts, _ = swept(Moves(samples, costs, levels), levels.cuts(thresholds), goal)
    return levels.thresholds(cuts)


def climbed(
    moves: Moves, cuts: np.ndarray, goal: Goal, least: float = -np.inf
) -> tuple[np.ndarray, float]:
    """Cuts that no move improves, and their rank.

    Parameters
    ----------
    least
        If sweeps alone end below this rank, no pairs are tried.
    """
    cuts, rank = swept(moves, cuts, goal)
    for _ in range(MOST_SWEEPS):
        if rank < least:
            break
        changed, other = moves.paired(cuts, goal)
        if other <= rank + BETTER:
            break
        cuts, rank = swept(moves, changed, goal)
    return cuts, rank


def swept(moves: Moves, cuts: np.ndarray, goal: Goal) -> tuple[np.ndarray, float]:
    """Cuts that no single change improves, and their rank."""
    rank = -np.inf
    for _ in range(MOST_SWEEPS):
        before = rank
        cuts, rank = moves.swept(cuts, goal)
        if rank <= before + BETTER:
            break
    return cuts, rank


class Search:
    """Iterated local search with given moves.

    Parameters
    ----------
    moves
        Samples, costs and levels.
    seed
        Seed of the random changes.
    """

    def __init__(self, moves: Moves, seed: int = SEED) -> None:
        self.moves, self.random = moves, np.random.default_rng(seed)

    def path(self) -> list[np.ndarray]:
        """Cuts by penalties that rise and fall again, each found from the last."""
        cuts, found = np.zeros(self.moves.exits - 1, int), []
        for penalty in [*PENALTIES, *PENALTIES[::-1]]:
            cuts, _ = swept(self.moves, cuts, penalised(penalty))
            found.append(cuts)
        return found

    def at_target(self, pool: list[np.ndarray], goal: Goal, kicks: int) -> np.ndarray:
        """The best cuts from those of a pool, and from random changes of the best so far."""
        order = self._ranked(pool, goal)
        best, rank = order[0], -np.inf
        for start in order[:STARTS]:
            cuts, other = climbed(self.moves, start, goal)
            if other > rank:
                best, rank = cuts, other
        for _ in range(kicks):
            cuts, other = climbed(self.moves, self.kicked(best), goal, rank - HOPELESS)
            if other > rank + BETTER:
                best, rank = cuts, other
        return best

    def _ranked(self, pool: list[np.ndarray], goal: Goal) -> list[np.ndarray]:
        """The distinct cuts of a pool, the best first."""
        rows = np.unique(np.stack(pool), axis=0)
        ranks = [self.moves.rank(cuts, goal) for cuts in rows]
        return list(rows[np.argsort(ranks)[::-1]])

    def kicked(self, cuts: np.ndarray) -> np.ndarray:
        """The cuts with one of three random changes: some anew, an exit moved, or all shifted."""
        changed, kind = cuts.copy(), self.random.random()
        count = len(changed)
        if kind < 0.4:
            size = int(self.random.integers(1, min(4, count) + 1))
            for k in self.random.choice(count, size=size, replace=False):
                off = changed[k] and self.random.random() < 0.5
                changed[k] = 0 if off else self.random.integers(self.moves.counts[k])
        elif kind < 0.75 and changed.any():
            # Exits that run move to a neighbour, or vanish.
            running = np.flatnonzero(changed)
            size = int(self.random.integers(1, min(3, len(running)) + 1))
            for k in self.random.choice(running, size=size, replace=False):
                to = int(np.clip(k + self.random.integers(-2, 3), 0, count - 1))
                share, changed[k] = changed[k] / self.moves.counts[k], 0
                changed[to] = max(1, int(share * self.moves.counts[to]))
        else:
            shift = self.random.integers(-4, 5, count)
            highest = self.moves.counts - 1
            changed = np.where(changed > 0, np.clip(changed + shift, 0, highest), 0)
        return changed


def goal_of(target: Target, samples: Samples, costs: UnitCosts) -> Goal:
    """The goal of a target on ``samples``."""
    if target.is_quality:
        # Half a sample less, since a summed accuracy may differ in the last bit.
        return cheapest((target.least_correct(samples) - 0.5) / len(samples))
    return most_accurate(target.most_cost(costs) / costs.full_network * (1 + 1e-9))


def penalised(penalty: float) -> Goal:
    """Goal: accuracy - penalty x cost."""
    return lambda accuracy, cost: accuracy - penalty * cost


def most_accurate(budget: float) -> Goal:
    """Goal: the most accurate policy within a budget; outside it the cheapest."""

    def goal(accuracy: np.ndarray, cost: np.ndarray) -> np.ndarray:
        return np.where(cost <= budget, accuracy - 1e-9 * cost, -OUTSIDE - cost)

    return goal


def cheapest(least: float) -> Goal:
    """Goal: the cheapest policy of an accuracy of at least ``least``; else the most accurate."""

    def goal(accuracy: np.ndarray, cost: np.ndarray) -> np.ndarray:
        return np.where(accuracy >= least, 1e-9 * accuracy - cost, accuracy - OUTSIDE)

    return goal
