"""A Lagrangian decomposition of the choice of thresholds, whose dual bounds what any can reach.

The thresholds would be easy to choose if each sample had its own; what makes them hard is that all
samples share them. So each sample gets a copy of the decisions at every exit (does it exit if it
gets there, does the head run), and multipliers pay for each copy that differs from what one
threshold an exit decides. Given the multipliers, samples and exits are optimised apart: a sample
takes its best exit, O(K); an exit its best threshold, a maximum of running sums, O(N). The total is
an upper limit whatever the multipliers are, the best of which are sought by descent. This is
Lagrangian decomposition (Guignard and Kim 1987), known as dual decomposition in graphical models
(Komodakis, Paragios and Tziritas 2007). The dual has kinks; it is smoothed by a temperature that
falls (Nesterov 2005) and minimised by L-BFGS. The limit itself is computed without smoothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples

# What stands for minus infinity where differences must stay finite.
FORBIDDEN = -1e9
# Temperatures of a sample's choice, as a share of a sample; an exit's are this many times higher.
TEMPERATURES = (0.1, 0.03, 0.01, 0.003)
OF_EXITS = 200.0
# Corrections that L-BFGS keeps.
MEMORY = 10


@dataclass(frozen=True)
class Box:
    """A range of thresholds for each exit: at least ``least`` samples and at most ``most`` exit.

    Attributes
    ----------
    least, most
        Shape (K-1,), numbers of all samples, whether they reach the exit or not; at 0 the head does
        not run.
    """

    least: np.ndarray
    most: np.ndarray


def least_costs(costs: UnitCosts) -> tuple[np.ndarray, np.ndarray]:
    """Costs (K,) of stages and heads that no policy goes below, as shares of the full network's.

    MACs are what they are. A batch may have any size up to the full one, so a time is the least of
    those measured and of that in full batches.
    """
    model, full = costs.model, costs.full_network
    if costs.unit == "macs":
        return costs.stage / full, costs.head / full
    small = model.batch_sizes <= model.batch_size
    # Smaller batches than the smallest measured one take as long a sample.
    small[0] = True
    parts = (model.stage_ms, costs.stage), (model.head_ms + model.overhead_ms, costs.head)
    stage, head = (np.minimum(table[small].min(axis=0), own) / full for table, own in parts)
    return stage, head


class Decomposition:
    """The dual function of samples and costs.

    Parameters
    ----------
    samples
        N samples at K exits.
    costs
        Costs; times are replaced by what they are at least.
    """

    def __init__(self, samples: Samples, costs: UnitCosts) -> None:
        self.exits, self.size = samples.exits, len(samples)
        self.stage, self.head = least_costs(costs)
        self.correct = np.ascontiguousarray(samples.correct.T.astype(float))
        self.order = np.ascontiguousarray(samples.order.T)
        ordered = np.take_along_axis(samples.uncertainty.T, self.order, axis=1)
        ends = np.ones((self.exits - 1, self.size + 1), bool)
        # Tied samples exit together.
        ends[:, 1:-1] = ordered[:, 1:] != ordered[:, :-1]
        self.ends = ends
        self.rank = np.argsort(self.order, axis=1)
        self.shape = (2, self.exits - 1, self.size)
        # Multipliers are for single samples, the penalty is for all.
        self.scale = np.sqrt(self.size)

    def whole(self) -> Box:
        """The box of all thresholds."""
        nothing = np.zeros(self.exits - 1, int)
        return Box(nothing, nothing + self.size)

    def start(self, penalty: float) -> np.ndarray:
        """A point without multipliers, where each sample exits where it likes: the oracle."""
        return np.append(np.zeros(np.prod(self.shape)), penalty * self.scale)

    def improved(
        self, box: Box, point: np.ndarray, budget: float, temperatures: tuple, steps: int
    ) -> np.ndarray:
        """A point with a lower limit at ``budget``, from ``steps`` for each temperature."""
        limits = [(None, None)] * (len(point) - 1) + [(0.0, None)]
        for temperature in temperatures:
            found = minimize(
                lambda x, t=temperature: self._smooth(box, x, budget, t),
                point,
                jac=True,
                method="L-BFGS-B",
                bounds=limits,
                options={"maxiter": steps, "maxcor": MEMORY, "maxfun": 2 * steps},
            )
            point = found.x
        return point

    def cut(self, box: Box, point: np.ndarray) -> tuple[float, float]:
        """Numbers a and b: no thresholds in the box have an accuracy above a + b x cost."""
        multipliers, penalty = self._parts(point)
        total, *_ = self._dual(box, multipliers, max(penalty, 0.0), 0.0)
        return total / self.size, max(penalty, 0.0)

    def leanings(self, box: Box, point: np.ndarray) -> np.ndarray:
        """Weights of each exit's thresholds in the dual, (K-1, N+1), each summing to 1."""
        multipliers, _ = self._parts(point)
        temperature = OF_EXITS * TEMPERATURES[-1]
        return _soft(self._of_exits(box, multipliers), temperature, axis=1)[1]

    def _parts(self, point: np.ndarray) -> tuple[np.ndarray, float]:
        return point[:-1].reshape(self.shape), float(point[-1] / self.scale)

    def _smooth(
        self, box: Box, point: np.ndarray, budget: float, temperature: float
    ) -> tuple[float, np.ndarray]:
        """Smoothed dual with the budget, and its gradient."""
        multipliers, penalty = self._parts(point)
        total, gradient, cost = self._dual(box, multipliers, penalty, temperature)
        slope = (self.size * budget - cost) / self.scale
        return total + penalty * budget * self.size, np.append(gradient.ravel(), slope)

    def _dual(
        self, box: Box, multipliers: np.ndarray, penalty: float, temperature: float
    ) -> tuple[float, np.ndarray, float]:
        """Limit of correct samples - penalty x cost, its gradient, and the samples' cost."""
        one, decided, cost = self._samples(box, multipliers, penalty, temperature)
        options = self._of_exits(box, multipliers)
        other, weights = _soft(options, OF_EXITS * temperature, axis=1)
        # A sample exits at all thresholds above it.
        exits = np.cumsum(weights[:, :0:-1], axis=1)[:, ::-1]
        shared = np.empty(self.shape)
        np.put_along_axis(shared[0], self.order, exits, axis=1)
        shared[1] = 1 - weights[:, :1]
        return float(one.sum() + other.sum()), shared - decided, cost

    def _of_exits(self, box: Box, multipliers: np.ndarray) -> np.ndarray:
        """What each threshold of each exit earns, (K-1, N+1), by the number of samples below it."""
        earned = np.zeros((self.exits - 1, self.size + 1))
        np.cumsum(np.take_along_axis(multipliers[0], self.order, 1), axis=1, out=earned[:, 1:])
        earned[:, 1:] += multipliers[1].sum(axis=1, keepdims=True)
        count = np.arange(self.size + 1)
        allowed = self.ends & (count >= box.least[:, None]) & (count <= box.most[:, None])
        return np.where(allowed, earned, FORBIDDEN)

    def _samples(
        self, box: Box, multipliers: np.ndarray, penalty: float, temperature: float
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Each sample's best value (N,), its decisions (2, K-1, N), and the cost of all."""
        would, runs = multipliers
        stage, head = penalty * self.stage, penalty * self.head[:-1, None]
        # At an exit: no head; a head and the sample passes; a head and it exits.
        stays = (self.rank >= box.least[:, None], self.rank < box.most[:, None])
        off = np.where(box.least[:, None] == 0, 0.0, FORBIDDEN)
        passes = np.where(stays[0] & (box.most[:, None] > 0), -runs, FORBIDDEN)
        leaves = np.where(stays[1], -would - runs, FORBIDDEN)
        # Beyond its exit a sample's decisions cost nothing.
        free, free_share = _soft(np.stack(np.broadcast_arrays(off, passes, leaves)), temperature)
        passed, passed_share = _soft(np.stack(np.broadcast_arrays(off, passes - head)), temperature)
        value = self.correct - np.cumsum(stage)[:, None]
        value[1:] += np.cumsum(passed, axis=0)
        value[:-1] += leaves - head
        value[:-2] += np.cumsum(free[:0:-1], axis=0)[::-1]
        value[-1] -= penalty * self.head[-1]
        best, chosen = _soft(value, temperature)
        before = np.cumsum(chosen, axis=0) - chosen
        after = np.clip(1 - before - chosen, 0, 1)[:-1]
        heads = chosen[:-1] + after * passed_share[1]
        decided = np.empty(self.shape)
        decided[0] = chosen[:-1] + before[:-1] * free_share[2]
        decided[1] = heads + before[:-1] * (free_share[1] + free_share[2])
        cost = (1 - before).sum(axis=1) @ self.stage + heads.sum(axis=1) @ self.head[:-1]
        return best, decided, float(cost + chosen[-1].sum() * self.head[-1])


def _soft(options: np.ndarray, temperature: float, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The maximum along an axis, and the share of each option; smooth unless at temperature 0."""
    top = options.max(axis=axis, keepdims=True)
    if temperature == 0:
        shares = np.zeros(options.shape)
        np.put_along_axis(shares, np.expand_dims(options.argmax(axis=axis), axis), 1.0, axis=axis)
        return top.squeeze(axis), shares
    shares = np.exp((options - top) / temperature)
    total = shares.sum(axis=axis, keepdims=True)
    return (top + temperature * np.log(total)).squeeze(axis), shares / total
