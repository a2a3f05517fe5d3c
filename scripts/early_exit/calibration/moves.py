"""All policies that differ from one in one or two thresholds, counted by histograms.

What all cuts of an exit (:mod:`early_exit.calibration.levels`), or of a pair of exits, come to is a
histogram of the samples' codes, summed along each axis: O(N + G^2) for a pair with G levels,
however many policies there are. Times depend on how many samples reach an exit, since batches
shrink; they need the histogram by exit as well, and are exact too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from early_exit.calibration.levels import Levels
from early_exit.policy.costs import UnitCosts, interpolated
from early_exit.policy.samples import Samples

# Ranks of policies with given accuracies and costs (relative to the full network's), two arrays of
# one shape; larger is better.
Goal = Callable[[np.ndarray, np.ndarray], np.ndarray]
# Smallest improvement of a rank; less is rounding.
BETTER = 1e-12
# Pairs are tried at cuts this far from the present ones, and at some over the whole range.
STEPS = np.array([1, 2, 4, 8, 16, 32])
WIDE = 14
# Times are tabulated for each number of samples up to this many.
MOST_TABULATED = 60_000


class Spending:
    """Cost of the samples that run each part, as a share of the full network's.

    Parameters
    ----------
    costs
        Costs in MACs, which add up, or in milliseconds, which depend on the size of batches.
    size
        N, the number of samples.
    """

    def __init__(self, costs: UnitCosts, size: int) -> None:
        self.size, self.adds_up = size, costs.unit == "macs"
        full, model = costs.full_network, costs.model
        self.stage, self.head = costs.stage / full / size, costs.head / full / size
        self.model, scale = model, 1 / full / size
        self.stage_ms = model.stage_ms * scale
        self.both_ms = self.stage_ms + (model.head_ms + model.overhead_ms) * scale
        self.tables = None if self.adds_up or size > MOST_TABULATED else self._tables()

    def at(self, exit: int, reach: np.ndarray, head: np.ndarray | bool) -> np.ndarray:
        """Cost of an exit's stage, and of its head where it runs, for ``reach`` samples."""
        if self.adds_up:
            return reach * (self.stage[exit] + np.where(head, self.head[exit], 0.0))
        known, sizes = self.model.batch_sizes, self.model.sizes(reach / self.size)
        with_head = interpolated(self.both_ms[:, exit], known, sizes)
        if head is True:
            return reach * with_head
        without = interpolated(self.stage_ms[:, exit], known, sizes)
        return reach * np.where(head, with_head, without)

    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """For 0 ... N samples, times of the stages up to each exit, and of the heads, (K, N+1)."""
        reach, exits = np.arange(self.size + 1), range(len(self.stage))
        stages = np.stack([self.at(k, reach, False) for k in exits])
        heads = np.stack([self.at(k, reach, True) for k in exits]) - stages
        return np.cumsum(stages, axis=0), heads

    def block(self, first: int, last: int, reach: np.ndarray) -> np.ndarray:
        """Time of the stages after ``first`` up to ``last``, and of that one's head."""
        if self.tables is None:
            parts = [self.at(k, reach, k == last) for k in range(first + 1, last + 1)]
            return np.sum(parts, axis=0)
        stages, heads = self.tables
        return stages[last][reach] - stages[first][reach] + heads[last][reach]


class State:
    """What a policy does with each sample.

    Attributes
    ----------
    cuts
        Shape (K-1,).
    reached
        Shape (K, N), whether each sample reaches each exit.
    later
        Shape (K-1, N), where each sample exits if it passes an exit.
    right, spent
        Shape (K-1, N), whether it is correct there, and the cost of the parts after that exit.
        ``spent`` is kept only if costs add up, ``later`` only if they don't.
    before_right, before_spent
        Shape (K,), correct samples that exit before each exit, and the cost of the parts before it.
    """

    def __init__(self, moves: Moves, cuts: np.ndarray) -> None:
        self.cuts = np.array(cuts)
        last = moves.exits - 1
        self.reached = np.ones(moves.correct.shape, bool)
        shape = (last, moves.size)
        self.later, self.right, self.spent = np.empty(shape, int), np.empty(shape), np.empty(shape)
        before = [(0.0, 0.0)]
        for k in range(last):
            np.greater_equal(moves.codes[k], self.cuts[k], out=self.reached[k + 1])
            self.reached[k + 1] &= self.reached[k]
            exits = self.reached[k] & ~self.reached[k + 1]
            reach = np.array(np.count_nonzero(self.reached[k]))
            spent = moves.spending.at(k, reach, bool(self.cuts[k]))
            before.append((before[-1][0] + moves.correct[k] @ exits, before[-1][1] + float(spent)))
        self.before_right, self.before_spent = np.array(before).T
        for k in range(last - 1, -1, -1):
            self.pass_back(moves, k)

    def pass_back(self, moves: Moves, exit: int) -> None:
        """Set what becomes of samples that pass an exit, from that of the next one."""
        k, spending = exit + 1, moves.spending
        if k == moves.exits - 1:
            self.later[exit], self.right[exit] = k, moves.correct[k]
            self.spent[exit] = spending.stage[k] + spending.head[k]
            return
        own, on = spending.stage[k], bool(self.cuts[k])
        if not on:
            self.right[exit], self.later[exit] = self.right[k], self.later[k]
            np.add(self.spent[k], own, out=self.spent[exit])
            return
        exits = moves.codes[k] < self.cuts[k]
        self.right[exit] = np.where(exits, moves.correct[k], self.right[k])
        if spending.adds_up:
            self.spent[exit] = np.where(exits, 0.0, self.spent[k]) + (own + spending.head[k])
        else:
            self.later[exit] = np.where(exits, k, self.later[k])


class Moves:
    """Moves from a policy to the best that differs in one or two thresholds.

    Parameters
    ----------
    samples
        N samples at K exits.
    costs
        Costs of stages and heads.
    levels
        The thresholds to choose from.
    """

    def __init__(self, samples: Samples, costs: UnitCosts, levels: Levels) -> None:
        self.exits, self.size = samples.exits, len(samples)
        self.levels, self.codes = levels, levels.codes(samples)
        self.counts = np.array([len(own) for own in levels.values])
        self.correct = np.ascontiguousarray(samples.correct.T.astype(float))
        self.spending = Spending(costs, len(samples))

    def rank(self, cuts: np.ndarray, goal: Goal) -> float:
        """Rank of a policy."""
        accuracy, cost = self.line(State(self, cuts), 0)
        return float(goal(accuracy, cost)[cuts[0]])

    def line(self, state: State, exit: int) -> tuple[np.ndarray, np.ndarray]:
        """Accuracy and cost for every cut of an exit (from 0), each (G,)."""
        rows = np.flatnonzero(state.reached[exit])
        count, code = self.counts[exit], self.codes[exit][rows]
        there = state.right[exit][rows]
        gain = np.bincount(code, self.correct[exit][rows] - there, count)
        right = state.before_right[exit] + there.sum() + _below(gain)
        here = self.spending.at(exit, np.array(len(rows)), np.arange(count) > 0)
        passed = self._passed(state, exit, rows, code, (count,))
        return right / self.size, state.before_spent[exit] + here + passed

    def _passed(
        self, state: State, exit: int, rows: np.ndarray, cell: np.ndarray, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Cost of the parts after an exit, for every cut of one exit or two.

        Parameters
        ----------
        rows
            Samples that may pass the exit.
        cell
            Their codes, as a cell of an array of ``shape``; they pass at cuts up to it.
        """
        if self.spending.adds_up:
            weights = np.bincount(cell, state.spent[exit][rows], int(np.prod(shape)))
            return _from(weights.reshape(shape))
        # As many samples run the stages between two exits that run.
        running = exit + 1 + np.flatnonzero(np.append(state.cuts[exit + 1 :], 1))
        position = np.zeros(self.exits, int)
        position[running] = np.arange(len(running))
        # Exits are the first axis, so that each one's counts are contiguous.
        size = int(np.prod(shape))
        index = position[state.later[exit][rows]] * size + cell
        counts = np.bincount(index, minlength=size * len(running))
        reach = _from(counts.reshape(-1, *shape))
        firsts = [exit, *running[:-1]]
        return sum(
            self.spending.block(first, last, own)
            for first, last, own in zip(firsts, running, reach, strict=True)
        )

    def swept(self, cuts: np.ndarray, goal: Goal) -> tuple[np.ndarray, float]:
        """Optimise each cut once, from the last exit to the first; also the final rank."""
        state, rank = State(self, cuts), -np.inf
        for k in range(self.exits - 2, -1, -1):
            ranks = goal(*self.line(state, k))
            best = int(ranks.argmax())
            # Of equal ranks the present one is kept.
            if ranks[best] > ranks[state.cuts[k]] + BETTER:
                state.cuts[k] = best
            rank = float(ranks[state.cuts[k]])
            if k:
                state.pass_back(self, k - 1)
        return state.cuts, rank

    def paired(self, cuts: np.ndarray, goal: Goal) -> tuple[np.ndarray, float]:
        """For each exit once, optimise its cut with the best partner's; also the final rank."""
        state = State(self, cuts)
        rank = float(goal(*self.line(state, 0))[state.cuts[0]])
        few = [self.choices(k, cut) for k, cut in enumerate(state.cuts)]
        for exit in range(self.exits - 2):
            best, found = rank + BETTER, None
            for partner, accuracy, cost in self.pairs(state, exit, few):
                ranks = goal(accuracy, cost)
                index = int(ranks.argmax())
                if ranks.flat[index] > best:
                    best = float(ranks.flat[index])
                    found = (partner, *np.unravel_index(index, ranks.shape))
            if found:
                rank = best
                for k, choice in zip((exit, found[0]), found[1:], strict=True):
                    state.cuts[k] = few[k][0][choice]
                    few[k] = self.choices(k, state.cuts[k])
                state = State(self, state.cuts)
        return state.cuts, rank

    def choices(self, exit: int, cut: int) -> tuple[np.ndarray, np.ndarray]:
        """Cuts of an exit that a pair is tried at, denser near ``cut``, and the codes by them."""
        last = self.counts[exit] - 1
        near = cut + np.concatenate([-STEPS, [0], STEPS])
        wide = np.linspace(0, last, WIDE).astype(int)
        few = np.unique(np.clip(np.concatenate([near, wide]), 0, last))
        group = np.searchsorted(few[1:], np.arange(last + 1), side="right")
        return few, group[self.codes[exit]]

    def pairs(
        self, state: State, exit: int, few: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For each later exit, accuracy and cost for its choices and those of ``exit``, (G, H).

        Parameters
        ----------
        few
            For each exit its choices and codes, as :meth:`choices`.
        """
        rows = np.flatnonzero(state.reached[exit])
        count, code = len(few[exit][0]), few[exit][1][rows]
        gain = np.bincount(code, self.correct[exit][rows], count)
        right = state.before_right[exit] + _below(gain)
        here = self.spending.at(exit, np.array(len(rows)), few[exit][0] > 0)
        spent = state.before_spent[exit] + here
        for k in range(exit + 1, self.exits - 1):
            reach = _from(np.bincount(code, minlength=count))
            there, here = state.right[k][rows], self.correct[k][rows]
            shape = (count, len(few[k][0]))
            cell = code * shape[1] + few[k][1][rows]
            gain = np.bincount(cell, here - there, count * shape[1]).reshape(shape)
            passing = _from(np.bincount(code, there, count))
            every = (right + passing)[:, None] + _below(_from(gain, axes=1))
            both = np.stack([self.spending.at(k, reach, on) for on in (False, True)], axis=1)
            passed = self._passed(state, k, rows, cell, shape)
            cost = spent[:, None] + both[:, (few[k][0] > 0).astype(int)] + passed
            yield k, every / self.size, cost
            if state.cuts[k]:
                exits = self.codes[k][rows] < state.cuts[k]
                right = right + _from(np.bincount(code[exits], here[exits], count))
                rows, code = rows[~exits], code[~exits]
            spent = spent + both[:, int(state.cuts[k] > 0)]
            if not len(rows):
                return


def _below(counts: np.ndarray) -> np.ndarray:
    """For each cut along the last axis, the sum over codes below it."""
    found = np.zeros(counts.shape)
    np.cumsum(counts[..., :-1], axis=-1, out=found[..., 1:])
    return found


def _from(counts: np.ndarray, axes: int | None = None) -> np.ndarray:
    """For each cut along the first ``axes`` axes (all), the sum over codes from it on."""
    for axis in range(counts.ndim if axes is None else axes):
        backward = (slice(None),) * axis + (slice(None, None, -1),)
        counts = counts[backward].cumsum(axis)[backward]
    return counts
