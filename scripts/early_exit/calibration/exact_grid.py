"""Every combination of a grid of thresholds, and of these the exact Pareto front.

Each exit has a grid of quantiles of its uncertainty, *nobody* and *everybody* among them. How many
samples survive the first k thresholds, and how many of them are right, is a cumulative histogram
over k axes; so all G^(K-1) policies cost O(N K + K G^(K-1)), and no policy is simulated. Of more
than 23 exits as many are looked at, evenly spread, and nobody leaves at the others. It is the
yardstick for the other methods. BranchyNet screens a grid, too (Teerapittayanon et al. 2016,
section IV); counting it by histograms is the project's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from early_exit import pareto
from early_exit.cost_model import Prices
from early_exit.samples import Samples
from early_exit.targets import Candidates, Target, pick

LARGEST_GRID = 20
# More exits have a coarser grid: time and memory grow with the number of policies.
MOST_POLICIES = 8_000_000


def thresholds(samples: Samples, prices: Prices, targets: Sequence[Target]) -> np.ndarray:
    """The best point of the front for each target; see the package for the signature."""
    found = exact_front(samples, prices)
    return np.stack([pick(found, samples, prices, target) for target in targets])


def grid_size(exits: int) -> int:
    """Thresholds for each of K-1 exits: 20, or as many as make at most 8 million policies."""
    return max(2, min(LARGEST_GRID, int(MOST_POLICIES ** (1 / max(1, exits - 1)) + 1e-9)))


def exits_looked_at(exits: int) -> np.ndarray:
    """The exits, from 0, that have a grid: all but the last, or as many as can have two values."""
    most = int(math.log2(MOST_POLICIES))
    return np.unique(np.linspace(0, exits - 2, min(exits - 1, most)).round().astype(int))


def of_exits(samples: Samples, prices: Prices, looked: np.ndarray) -> tuple[Samples, Prices]:
    """The same, if the network had the exits ``looked`` and the last alone."""
    kept = [*looked, samples.exits - 1]
    fewer = replace(
        samples, uncertainty=samples.uncertainty[:, looked], correct=samples.correct[:, kept]
    )
    starts = [0, *(looked + 1)]
    stage = np.add.reduceat(prices.stage, starts)
    return fewer, replace(prices, stage=stage, head=prices.head[kept])


def exact_front(samples: Samples, prices: Prices, size: int | None = None) -> Candidates:
    """The Pareto front of all policies on the grid, from cheap to dear."""
    looked = exits_looked_at(samples.exits)
    fewer, their_prices = of_exits(samples, prices, looked)
    grid = quantiles(fewer, size or grid_size(fewer.exits))
    correct, cost = all_policies(fewer, their_prices, grid)
    places = pareto.front(correct.ravel(), cost.ravel())
    chosen = np.stack(np.unravel_index(places, correct.shape), axis=1)
    rows = np.full((len(places), samples.exits - 1), -np.inf)
    rows[:, looked] = grid[np.arange(len(looked)), chosen]
    found = Candidates(rows, correct.ravel()[places], cost.ravel()[places])
    if prices.unit == "macs":
        return found
    # Times do not add up: a batch that thins out is dearer a sample.
    return Candidates(rows, found.correct, np.array([_cost(samples, prices, r) for r in rows]))


def quantiles(samples: Samples, size: int) -> np.ndarray:
    """Shape (K-1, G): uncertainties that occur, evenly spread, between minus and plus infinity."""
    levels = np.linspace(0, 1, size)[1:-1]
    inner = np.quantile(samples.uncertainty, levels, axis=0, method="higher").T
    ends = np.full((samples.exits - 1, 1), np.inf)
    return np.concatenate([-ends, inner, ends], axis=1)


def all_policies(
    samples: Samples, prices: Prices, grid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How many samples are right under every policy of the grid, and its mean cost.

    Parameters
    ----------
    grid
        Shape (K-1, G), ascending, the first of each row minus infinity.

    Returns
    -------
    tuple of numpy.ndarray
        Right samples and cost, each with K-1 axes of length G.
    """
    exits, size = samples.exits, grid.shape[1]
    shape = (size,) * (exits - 1)
    # Against how many thresholds of exit k each sample stays: it survives the first `bins` of them.
    bins = [
        np.searchsorted(grid[k], samples.uncertainty[:, k], side="right") - 1
        for k in range(exits - 1)
    ]
    correct = np.zeros(shape, np.int32)
    cost = np.zeros(shape)
    places = np.zeros(len(samples), np.int64)
    reached = np.array(len(samples), np.int32)
    never = np.arange(size) == 0
    for k in range(exits):
        deeper = (1,) * (exits - 1 - k)
        arrived = reached.reshape(*reached.shape, *deeper)
        cost += arrived * prices.stage[k]
        right = _survivors(places[samples.correct[:, k]], (size,) * k)
        right = right.reshape(*right.shape, *deeper)
        correct += right
        if k == exits - 1:
            cost += arrived * prices.head[k]
            break
        cost += arrived * np.where(never, 0.0, prices.head[k]).reshape(size, *deeper[1:])
        places = places * size + bins[k]
        # Right at this exit, and not leaving here: counted too early above.
        correct -= _survivors(places[samples.correct[:, k]], (size,) * (k + 1)).reshape(
            *(size,) * (k + 1), *deeper[1:]
        )
        reached = _survivors(places, (size,) * (k + 1))
    return correct, cost / len(samples)


def _survivors(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """How many samples lie at or above each cell of the grid along every axis."""
    counts = np.bincount(places, minlength=int(np.prod(shape, dtype=np.int64)))
    counts = counts.astype(np.int32).reshape(shape)
    for axis in range(len(shape)):
        backward = np.flip(counts, axis)
        np.cumsum(backward, axis=axis, out=backward)
    return counts


def _cost(samples: Samples, prices: Prices, thresholds: np.ndarray) -> float:
    shares = np.bincount(samples.taken(thresholds), minlength=samples.exits) / len(samples)
    return float(prices.mean(thresholds, shares))
