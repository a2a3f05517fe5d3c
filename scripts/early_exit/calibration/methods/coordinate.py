"""Coordinate descent on accuracy - penalty x cost, one threshold at a time, each step exact.

With the other thresholds fixed, the gain of each sample from exiting at exit k is known. The best
threshold is found by one cumulative sum over the samples that reach k, sorted by uncertainty. The
penalty is raised and then lowered again, each solution starting from the last, and the better of
the two is kept. The scheme is standard (Wright 2015, Coordinate descent algorithms); its use for
exit thresholds is this project's. With more than six exits an iterated local search, whose moves
are exact steps of one threshold and of two at once, takes the place of this path
(:mod:`early_exit.calibration.local_search`). Of more than 100,000 samples, as many give the path;
what is found for a target is then improved on all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit.calibration import local_search
from early_exit.calibration.targets import (
    MOST_FITTED,
    Candidates,
    Target,
    evaluate,
    on_all,
    pick,
    with_ends,
)
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples
from early_exit.statistics import pareto

# Accuracy that is traded for the full network's cost, as a share of samples.
PENALTIES = np.concatenate([[0.0], np.geomspace(0.002, 20.0, 60)])
MOST_ROUNDS = 20
# Up to this many exits, coordinate descent is within 0.1 points of the exact grid
# (docs/calibration.md).
FEW_EXITS = 6
MOST_PREDICTED = 400


def thresholds(samples: Samples, costs: UnitCosts, targets: Sequence[Target]) -> np.ndarray:
    """The best policy of the front for each target, shape (T, K-1)."""
    if samples.exits > FEW_EXITS:
        found = with_ends(samples, costs, local_search.search(samples, costs, targets))
    else:
        few = samples.subset(MOST_FITTED)
        found = front(few, costs)
        if few is not samples:
            found = _improved_on_all(samples, costs, targets, found)
    return np.stack([pick(found, samples, costs, target) for target in targets])


def _improved_on_all(
    samples: Samples, costs: UnitCosts, targets: Sequence[Target], found: Candidates
) -> Candidates:
    """What was found on some samples, and for each target what local search makes of it on all."""
    found = on_all(samples, costs, found)
    rows = [(pick(found, samples, costs, target), target) for target in targets]
    better = [
        local_search.polished(samples, costs, row, target)
        for row, target in rows
        if not np.isnan(row).any()
    ]
    return found.joined(evaluate(samples, costs, np.stack(better))) if better else found


def front(samples: Samples, costs: UnitCosts) -> Candidates:
    """The Pareto front of the path and of all policies that differ from it in one threshold.

    The path jumps between local optima; policies between them differ in one threshold.
    """
    starts = np.unique(path(samples, costs), axis=0)
    parts = [
        _variations(samples, costs, start, exit)
        for start in starts
        for exit in range(samples.exits - 1)
    ]
    every = Candidates(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    best = every.at(pareto.front(every.correct, every.cost))
    own = with_ends(samples, costs, starts)
    if costs.unit == "ms":
        # Times are not additive and must be predicted one by one, so only for some policies.
        few = np.linspace(0, len(best) - 1, min(len(best), MOST_PREDICTED)).round().astype(int)
        best = evaluate(samples, costs, best.thresholds[few])
    return best.joined(own)


def path(samples: Samples, costs: UnitCosts) -> np.ndarray:
    """Thresholds (P, K-1) by ascending penalty, from safe to bold."""
    samples = samples.subset(MOST_FITTED)
    never = np.full(samples.exits - 1, -np.inf)
    up = _follow(samples, costs, never, PENALTIES)
    down = _follow(samples, costs, up[-1], PENALTIES[::-1])[::-1]
    better = [
        max(pair, key=lambda t: objective(samples, costs, t, penalty))
        for *pair, penalty in zip(up, down, PENALTIES, strict=True)
    ]
    return np.stack(better)


def _follow(
    samples: Samples, costs: UnitCosts, start: np.ndarray, penalties: np.ndarray
) -> list[np.ndarray]:
    rows = []
    for penalty in penalties:
        start = descend(samples, costs, start, penalty)
        rows.append(start)
    return rows


def descend(samples: Samples, costs: UnitCosts, start: np.ndarray, penalty: float) -> np.ndarray:
    """Thresholds that no single change improves."""
    found = start.copy()
    for _ in range(MOST_ROUNDS):
        before = found.copy()
        for k in range(samples.exits - 1):
            found[k] = best_cut(samples, costs, found, k, penalty)
        if (found == before).all():
            break
    return found


def best_cut(
    samples: Samples, costs: UnitCosts, thresholds: np.ndarray, exit: int, penalty: float
) -> float:
    """The best threshold of one exit (from 0), with the others fixed.

    Parameters
    ----------
    penalty
        Accuracy that is traded for the full network's cost, as a share of samples.
    """
    rows, gain, saved = _along(samples, costs, thresholds, exit)
    total = gain + penalty / costs.full_network * saved
    best = int(total.argmax())
    # If nothing is gained, no sample exits and the head does not run.
    return samples.cut(exit, rows, best) if total[best] > 1e-9 else -np.inf


def _along(
    samples: Samples, costs: UnitCosts, thresholds: np.ndarray, exit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gain and saved cost if the first 0, 1, ... M samples exit at ``exit``, against none.

    Returns
    -------
    tuple of numpy.ndarray
        The M samples that reach the exit, sorted by uncertainty; the gain in correct samples
        (M+1,), minus infinity where tied samples would be separated; and the cost saved over all
        samples (M+1,).
    """
    rows = samples.order[:, exit]
    rows = rows[(samples.uncertainty[rows, :exit] >= thresholds[:exit]).all(axis=1)]
    later = samples.next_exit(thresholds, exit + 1)[rows]
    spent = costs.per_exit(np.append(thresholds[:exit], [np.inf, *thresholds[exit + 1 :]]))
    gain = np.zeros(len(rows) + 1)
    saved = np.zeros(len(rows) + 1)
    np.cumsum(samples.correct[rows, exit] - 1.0 * samples.correct[rows, later], out=gain[1:])
    np.cumsum(spent[later] - spent[exit], out=saved[1:])
    saved[1:] -= costs.head[exit] * len(rows)
    ordered = samples.uncertainty[rows, exit]
    tied = 1 + np.flatnonzero(ordered[1:] == ordered[:-1])
    gain[tied] = -np.inf
    return rows, gain, saved


def _variations(
    samples: Samples, costs: UnitCosts, thresholds: np.ndarray, exit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds, correct samples and costs of policies that differ in one exit's threshold.

    Only those on their Pareto front are returned. Costs are additive.
    """
    base = thresholds.copy()
    base[exit] = -np.inf
    taken = samples.taken(base)
    rows, gain, saved = _along(samples, costs, base, exit)
    correct = samples.right(taken).sum() + gain
    cost = costs.per_exit(base)[taken].mean() - saved / len(samples)
    index = pareto.front(correct, cost)
    found = np.repeat(base[None], len(index), axis=0)
    # The lowest uncertainty that continues is the threshold; the front separates no tied samples.
    ordered = samples.uncertainty[rows, exit]
    found[:, exit] = np.concatenate([[-np.inf], ordered[1:], [np.inf]])[index]
    return found, correct[index], cost[index]


def objective(samples: Samples, costs: UnitCosts, thresholds: np.ndarray, penalty: float) -> float:
    """Accuracy minus the penalty times the mean cost, relative to the full network's."""
    taken = samples.taken(thresholds)
    cost = costs.per_exit(thresholds)[taken].mean() / costs.full_network
    return float(samples.right(taken).mean() - penalty * cost)
