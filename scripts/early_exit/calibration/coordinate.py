"""Coordinate descent on accuracy - penalty x cost, one threshold at a time, each step exact.

With the other thresholds fixed, what a sample gains by leaving at exit k and not later is known;
the samples that reach k, sorted by uncertainty, have a best cut, found by one running sum. The
penalty runs up and down again, each solution starting from the last, and of both the better is
kept. The scheme is a usual one (Wright 2015, Coordinate descent algorithms); as a way to set exits'
thresholds it is the project's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit import pareto
from early_exit.cost_model import Prices
from early_exit.samples import Samples
from early_exit.targets import Candidates, Target, evaluate, pick, with_ends

# Points of accuracy that the whole network's cost is worth, from nothing to everything.
PENALTIES = np.concatenate([[0.0], np.geomspace(0.002, 20.0, 60)])
MOST_ROUNDS = 20
MOST_PREDICTED = 400


def thresholds(samples: Samples, prices: Prices, targets: Sequence[Target]) -> np.ndarray:
    """The best of the front for each target; see the package for the signature."""
    found = front(samples, prices)
    return np.stack([pick(found, samples, prices, target) for target in targets])


def front(samples: Samples, prices: Prices) -> Candidates:
    """The Pareto front of the path and of all policies that differ from it in one threshold.

    The path jumps from one local best to another; what lies between is one threshold away.
    """
    starts = np.unique(path(samples, prices), axis=0)
    parts = [
        _variations(samples, prices, start, exit)
        for start in starts
        for exit in range(samples.exits - 1)
    ]
    every = Candidates(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    best = every.at(pareto.front(every.correct, every.cost))
    own = with_ends(samples, prices, starts)
    if prices.unit == "ms":
        # Times do not add up, so each is predicted: not more of them than a figure can show.
        few = np.linspace(0, len(best) - 1, min(len(best), MOST_PREDICTED)).round().astype(int)
        best = evaluate(samples, prices, best.thresholds[few])
    pairs = zip(best.columns, own.columns, strict=True)
    return Candidates(*(np.concatenate(pair) for pair in pairs))


def path(samples: Samples, prices: Prices) -> np.ndarray:
    """Thresholds (P, K-1) along the penalty, from safe to bold."""
    nobody = np.full(samples.exits - 1, -np.inf)
    up = _follow(samples, prices, nobody, PENALTIES)
    down = _follow(samples, prices, up[-1], PENALTIES[::-1])[::-1]
    better = [
        max(pair, key=lambda t: objective(samples, prices, t, penalty))
        for *pair, penalty in zip(up, down, PENALTIES, strict=True)
    ]
    return np.stack(better)


def _follow(
    samples: Samples, prices: Prices, start: np.ndarray, penalties: np.ndarray
) -> list[np.ndarray]:
    rows = []
    for penalty in penalties:
        start = descend(samples, prices, start, penalty)
        rows.append(start)
    return rows


def descend(samples: Samples, prices: Prices, start: np.ndarray, penalty: float) -> np.ndarray:
    """Thresholds that no change of a single one makes better."""
    found = start.copy()
    for _ in range(MOST_ROUNDS):
        before = found.copy()
        for k in range(samples.exits - 1):
            found[k] = best_cut(samples, prices, found, k, penalty)
        if (found == before).all():
            break
    return found


def best_cut(
    samples: Samples, prices: Prices, thresholds: np.ndarray, exit: int, penalty: float
) -> float:
    """The best threshold of one exit (from 0), the others as they are.

    Parameters
    ----------
    penalty
        Points of accuracy that the whole network's cost is worth.
    """
    rows, right, saved = _along(samples, prices, thresholds, exit)
    total = right + penalty / prices.whole * saved
    best = int(total.argmax())
    # Without anybody leaving nothing changes, and the head need not run.
    return samples.cut(exit, rows, best) if total[best] > 1e-9 else -np.inf


def _along(
    samples: Samples, prices: Prices, thresholds: np.ndarray, exit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What changes, against nobody leaving at ``exit``, if the first 0, 1, 2 .. leave there.

    Returns
    -------
    tuple of numpy.ndarray
        The M samples that reach the exit, sorted by uncertainty; how many more are right (M+1,);
        and the cost saved, over all samples (M+1,). Where a tie would be cut, minus infinity are
        right.
    """
    rows = samples.order[:, exit]
    rows = rows[(samples.uncertainty[rows, :exit] >= thresholds[:exit]).all(axis=1)]
    later = samples.next_exit(thresholds, exit + 1)[rows]
    spent = prices.per_exit(np.append(thresholds[:exit], [np.inf, *thresholds[exit + 1 :]]))
    right = np.zeros(len(rows) + 1)
    saved = np.zeros(len(rows) + 1)
    np.cumsum(samples.correct[rows, exit] - 1.0 * samples.correct[rows, later], out=right[1:])
    np.cumsum(spent[later] - spent[exit], out=saved[1:])
    saved[1:] -= prices.head[exit] * len(rows)
    ordered = samples.uncertainty[rows, exit]
    tied = 1 + np.flatnonzero(ordered[1:] == ordered[:-1])
    right[tied] = -np.inf
    return rows, right, saved


def _variations(
    samples: Samples, prices: Prices, thresholds: np.ndarray, exit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds, right samples and cost of all policies that differ in one exit's threshold.

    Only those on their own Pareto front, and in linear prices.
    """
    base = thresholds.copy()
    base[exit] = -np.inf
    taken = samples.taken(base)
    rows, right, saved = _along(samples, prices, base, exit)
    correct = samples.right(taken).sum() + right
    cost = prices.per_exit(base)[taken].mean() - saved / len(samples)
    places = pareto.front(correct, cost)
    found = np.repeat(base[None], len(places), axis=0)
    # Those who stay start at the threshold; a front has no place within a tie.
    ordered = samples.uncertainty[rows, exit]
    found[:, exit] = np.concatenate([[-np.inf], ordered[1:], [np.inf]])[places]
    return found, correct[places], cost[places]


def objective(samples: Samples, prices: Prices, thresholds: np.ndarray, penalty: float) -> float:
    """Accuracy less the penalty for the mean cost, in shares of the whole network's."""
    taken = samples.taken(thresholds)
    cost = prices.per_exit(thresholds)[taken].mean() / prices.whole
    return float(samples.right(taken).mean() - penalty * cost)
