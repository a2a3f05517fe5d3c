"""Exhaustive search over a grid of thresholds, and its exact Pareto front.

The grid of each exit has quantiles of its uncertainty, minus infinity and infinity. The number of
samples that pass the first k thresholds, and of correct ones among them, is a cumulative histogram
over k axes. All G^(K-1) policies therefore take O(N K + K G^(K-1)); none is simulated.

Exact is the front of the grid: no combination of its thresholds is better. Up to six exits, the
grid has 20 thresholds per exit, and its front is the reference for the other methods; with seven
exits it has 14. With more it covers six exits only, and no sample exits at the others. These are
once evenly spaced and once those at which most samples exit under a search on all exits; the better
policy of the two grids is taken. Nothing is exact about that choice, and ``coordinate`` finds
better thresholds; :mod:`early_exit.calibration.bound` says what any could reach. BranchyNet also
searches a grid (Teerapittayanon et al. 2016, section IV); the counting by histograms is this
project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from early_exit.calibration.levels import Levels
from early_exit.calibration.local_search import Search
from early_exit.calibration.moves import Moves
from early_exit.calibration.targets import Candidates, Target, pick
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples
from early_exit.statistics import pareto

LARGEST_GRID = 20
# Limits time and memory; more exits therefore have a coarser grid.
MOST_POLICIES = 8_000_000
# A fine grid for some exits beats a coarse one for all.
MOST_EXITS = 6
# Samples, and levels of an exit, of the search that says which exits are used.
MOST_SEARCHED, LEVELS_SEARCHED = 4000, 30


def thresholds(samples: Samples, costs: UnitCosts, targets: Sequence[Target]) -> np.ndarray:
    """The best policy of the front for each target, shape (T, K-1)."""
    found = exact_front(samples, costs)
    if samples.exits - 1 > MOST_EXITS:
        found = found.joined(exact_front(samples, costs, looked=exits_used(samples, costs)))
    return np.stack([pick(found, samples, costs, target) for target in targets])


def grid_size(exits: int) -> int:
    """Thresholds per exit with a grid: 20, or as many as give 8 million policies."""
    looked = min(max(1, exits - 1), MOST_EXITS)
    return min(LARGEST_GRID, int(MOST_POLICIES ** (1 / looked) + 1e-9))


def exits_looked_at(exits: int) -> np.ndarray:
    """Exits (from 0) with a grid: all but the last, or six of them, evenly spaced."""
    most = min(exits - 1, MOST_EXITS)
    return np.unique(np.linspace(0, exits - 2, most).round().astype(int))


def exits_used(samples: Samples, costs: UnitCosts) -> np.ndarray:
    """The six exits (from 0) at which most samples exit, over the penalties of a search."""
    few = samples.subset(MOST_SEARCHED)
    moves = Moves(few, costs, Levels.spread(few, LEVELS_SEARCHED))
    rows = [moves.levels.thresholds(cuts) for cuts in Search(moves).path()]
    counts = sum(few.counted(row)[1] for row in rows)
    return np.sort(np.argsort(-counts[:-1], kind="stable")[:MOST_EXITS])


def of_exits(samples: Samples, costs: UnitCosts, looked: np.ndarray) -> tuple[Samples, UnitCosts]:
    """Samples and costs of a network with only the exits ``looked`` and the last."""
    kept = [*looked, samples.exits - 1]
    fewer = replace(
        samples, uncertainty=samples.uncertainty[:, looked], correct=samples.correct[:, kept]
    )
    starts = [0, *(looked + 1)]
    stage = np.add.reduceat(costs.stage, starts)
    return fewer, replace(costs, stage=stage, head=costs.head[kept])


def exact_front(
    samples: Samples,
    costs: UnitCosts,
    size: int | None = None,
    looked: np.ndarray | None = None,
) -> Candidates:
    """Pareto front of all policies on the grid, by ascending cost.

    Parameters
    ----------
    size
        Thresholds per exit.
    looked
        Exits (from 0) with a grid; as :func:`exits_looked_at` if not given.
    """
    looked = exits_looked_at(samples.exits) if looked is None else looked
    fewer, fewer_costs = of_exits(samples, costs, looked)
    grid = quantiles(fewer, size or grid_size(fewer.exits))
    counted = all_policies(fewer, fewer_costs, grid)
    index = pareto.front(counted.correct.ravel(), counted.cost.ravel())
    chosen = np.stack(np.unravel_index(index, counted.correct.shape), axis=1)
    rows = np.full((len(index), samples.exits - 1), -np.inf)
    rows[:, looked] = grid[np.arange(len(looked)), chosen]
    correct, cost = counted.correct.ravel()[index], counted.cost.ravel()[index]
    if costs.unit == "ms":
        # Times are not additive: a sample takes longer in a smaller batch.
        shares = np.zeros((len(index), samples.exits))
        shares[:, [*looked, samples.exits - 1]] = counted.exit_shares(chosen)
        cost = np.array([costs.mean(*pair) for pair in zip(rows, shares, strict=True)])
    return Candidates(rows, correct, cost)


def quantiles(samples: Samples, size: int) -> np.ndarray:
    """Quantiles of the uncertainties between minus infinity and infinity, shape (K-1, G)."""
    levels = np.linspace(0, 1, size)[1:-1]
    inner = np.quantile(samples.uncertainty, levels, axis=0, method="higher").T
    ends = np.full((samples.exits - 1, 1), np.inf)
    return np.concatenate([-ends, inner, ends], axis=1)


@dataclass(frozen=True)
class Counted:
    """Results of all policies of a grid.

    Attributes
    ----------
    correct, cost
        Number of correct samples and mean cost, each with K-1 axes of length G.
    reached
        K arrays with the number of samples that reach each exit; the k-th, from 0, has k axes, for
        the thresholds before it.
    """

    correct: np.ndarray
    cost: np.ndarray
    reached: list[np.ndarray]

    def exit_shares(self, chosen: np.ndarray) -> np.ndarray:
        """Exit shares (P, K) of the policies at the grid indices ``chosen`` (P, K-1)."""
        counts = [self.reached[k][tuple(chosen[:, :k].T)] for k in range(len(self.reached))]
        reach = np.stack([np.broadcast_to(c, len(chosen)) for c in counts], axis=1)
        passed = np.append(reach[:, 1:], np.zeros((len(chosen), 1), reach.dtype), axis=1)
        return (reach - passed) / self.reached[0]


def all_policies(samples: Samples, costs: UnitCosts, grid: np.ndarray) -> Counted:
    """Count the correct samples of every policy of the grid, and its mean cost.

    Parameters
    ----------
    grid
        Shape (K-1, G), ascending; each row starts with minus infinity.
    """
    exits, size = samples.exits, grid.shape[1]
    shape = (size,) * (exits - 1)
    # A sample continues past exit k at the first `bins[k] + 1` of its thresholds.
    bins = [
        np.searchsorted(grid[k], samples.uncertainty[:, k], side="right") - 1
        for k in range(exits - 1)
    ]
    correct = np.zeros(shape, np.int32)
    cost = np.zeros(shape)
    cells = np.zeros(len(samples), np.int64)
    reached = [np.array(len(samples), np.int32)]
    never = np.arange(size) == 0
    for k in range(exits):
        deeper = (1,) * (exits - 1 - k)
        arrived = reached[k].reshape(*reached[k].shape, *deeper)
        cost += arrived * costs.stage[k]
        here = _survivors(cells[samples.correct[:, k]], (size,) * k)
        correct += here.reshape(*here.shape, *deeper)
        if k == exits - 1:
            cost += arrived * costs.head[k]
            break
        cost += arrived * np.where(never, 0.0, costs.head[k]).reshape(size, *deeper[1:])
        cells = cells * size + bins[k]
        # Samples that are correct here but continue were counted above.
        correct -= _survivors(cells[samples.correct[:, k]], (size,) * (k + 1)).reshape(
            *(size,) * (k + 1), *deeper[1:]
        )
        reached.append(_survivors(cells, (size,) * (k + 1)))
    return Counted(correct, cost / len(samples), reached)


def _survivors(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Number of samples at or above each cell of the grid along every axis."""
    counts = np.bincount(cells, minlength=int(np.prod(shape, dtype=np.int64)))
    counts = counts.astype(np.int32).reshape(shape)
    for axis in range(len(shape)):
        backward = np.flip(counts, axis)
        np.cumsum(backward, axis=axis, out=backward)
    return counts
