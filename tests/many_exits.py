"""Made-up records of networks with many exits, and a slow search independent of the library's.

Accuracies rise slowly, some exits repeat the one before, errors are correlated along the network,
and uncertainties may be tied. The reference is a line search with pairwise moves from random
starts: it knows nothing of penalties, paths or histograms, and says what thresholds are known to
reach where too many exist to try all.
"""

from __future__ import annotations

import time

import numpy as np

from early_exit.policy.costs import CostModel
from early_exit.policy.samples import Samples

EXITS = (13, 17, 25, 40)
# Few levels make ties; 0 stands for none.
KINDS = {"smooth": 0, "tied": 24}
BUDGETS = (0.05, 0.1, 0.25, 0.5, 0.75)
COUNT = 10_000


def drawn(
    exits: int, kind: str = "smooth", split: str = "calibration", count: int = COUNT, seed: int = 0
) -> Samples:
    """``count`` samples at ``exits`` exits; both splits are draws from the same population.

    Parameters
    ----------
    kind
        A key of :data:`KINDS`.
    split
        ``calibration`` or ``test``.
    seed
        Population: skills of the exits and how far they repeat each other.
    """
    own = np.random.default_rng([seed, exits])
    skill = 1.6 * np.sqrt(np.arange(1, exits + 1) / exits) + own.normal(0, 0.12, exits)
    # How much of what an exit says is new; a third of the exits say hardly anything new.
    fresh = np.where(own.random(exits) < 1 / 3, 0.05, 0.35) * np.sqrt(13 / exits)
    sharp = own.uniform(1.2, 2.8, exits)
    rng = np.random.default_rng([seed, exits, split == "test"])
    hardness = rng.normal(size=(count, 1))
    walk = np.cumsum(rng.normal(size=(count, exits)) * fresh, axis=1)
    strength = skill - 0.8 * hardness + walk
    correct = strength + rng.normal(0, 0.5, (count, exits)) > 0.4
    noise = rng.normal(0, 0.5, (count, exits))
    uncertainty = 1 / (1 + np.exp(sharp * np.abs(strength) + noise))[:, :-1]
    levels = KINDS[kind]
    if levels:
        # Levels are as coarse for sure samples as for others.
        uncertainty = np.round(uncertainty**0.5 * levels * 1.4) / levels
    return Samples(uncertainty, correct)


def costs_of(exits: int, seed: int = 0) -> CostModel:
    """Stages that grow along the network, heads of a tenth to a half of a stage; small batches
    take up to four times as long a sample."""
    rng = np.random.default_rng([seed, exits, 7])
    stage = np.linspace(0.3, 1.5, exits) * rng.uniform(0.7, 1.3, exits) * 1e6
    stage[0] = 0.02 * stage.sum()
    head = stage.mean() * rng.uniform(0.1, 0.5, exits)
    head[0] = 0.4 * stage[0]
    sizes = np.array([1.0, 4, 16, 64, 256])
    slower = 1 + 3 / np.sqrt(sizes)[:, None]
    ms = [slower * part[None] / 1e7 for part in (stage, head, 0.05 * head)]
    return CostModel(stage, head, sizes, *ms, 256)


class Reference:
    """Random restarts of a line search with pairwise moves, for one budget, on MACs.

    Every policy is counted from the samples' exits, one at a time in plain steps. Only the grid of
    tried thresholds, which gets finer, and the random moves are its own.
    """

    def __init__(self, samples: Samples, model: CostModel, budget: float, seed: int = 0) -> None:
        self.u, self.right = samples.uncertainty, samples.correct
        full = model.stage_macs.sum() + model.head_macs[-1]
        self.stage, self.head = model.stage_macs / full, model.head_macs / full
        self.budget = budget
        self.rng = np.random.default_rng(seed)

    def measure(self, t: np.ndarray) -> tuple[float, float]:
        """Accuracy and cost of thresholds (K-1,)."""
        on = np.append(t > -np.inf, True)
        spent = np.cumsum(self.stage + self.head * on)
        exits = np.hstack([self.u < t, np.ones((len(self.u), 1), bool)]).argmax(axis=1)
        return float(self.right[np.arange(len(exits)), exits].mean()), float(spent[exits].mean())

    def value(self, t: np.ndarray) -> float:
        """Accuracy within the budget; beyond it, less the further beyond."""
        accuracy, cost = self.measure(t)
        over = cost - self.budget * (1 + 1e-9)
        return accuracy - 1e-6 * cost if over <= 0 else -1 - over

    def candidates(self, k: int, step: float) -> np.ndarray:
        """Thresholds to try at an exit (from 0)."""
        levels = np.clip(np.arange(0, 1, step) + self.rng.uniform(0, step), 0, 1)
        values = np.quantile(self.u[:, k], levels, method="higher")
        return np.concatenate([[-np.inf], values, [np.inf]])

    def start(self) -> np.ndarray:
        """Random thresholds at a random few exits, scaled until the budget is met."""
        k = self.u.shape[1]
        on = self.rng.random(k) < self.rng.uniform(0.1, 0.6)
        ranks = self.rng.beta(1, 3, k)
        for push in np.linspace(0, 1, 21):
            levels = np.clip(ranks + push * (1 - ranks), 0, 1)
            t = np.array(
                [np.quantile(self.u[:, i], q, method="higher") for i, q in enumerate(levels)]
            )
            t[~on] = -np.inf
            if push > 0.5 and self.rng.random() < push:
                t[0] = np.quantile(self.u[:, 0], push, method="higher")
            if self.value(t) > -1:
                return t
        return np.full(k, np.inf)

    def climbed(self, t: np.ndarray, until: float) -> tuple[np.ndarray, float]:
        """Lines, then pairs (one exit sooner, another later), until nothing helps."""
        best = self.value(t)
        for step in (0.1, 0.03, 0.01):
            while time.process_time() < until:
                before = best
                for k in self.rng.permutation(len(t)):
                    t, best = self._line(t, best, k, step)
                for _ in range(4 * len(t)):
                    t, best = self._pair(t, best, step)
                if best <= before + 1e-6:
                    break
        return t, best

    def _line(self, t: np.ndarray, best: float, k: int, step: float) -> tuple[np.ndarray, float]:
        for value in self.candidates(k, step):
            tried = t.copy()
            tried[k] = value
            reached = self.value(tried)
            if reached > best:
                t, best = tried, reached
        return t, best

    def _pair(self, t: np.ndarray, best: float, step: float) -> tuple[np.ndarray, float]:
        i, j = self.rng.choice(len(t), 2, replace=False)
        tried = t.copy()
        tried[i] = self.rng.choice(self.candidates(i, step))
        if self.rng.random() < 0.5:
            tried[j] = self.rng.choice(self.candidates(j, step))
            reached = self.value(tried)
            return (tried, reached) if reached > best else (t, best)
        # What the change of one threshold saves, the other spends.
        other, reached = self._line(tried, best, j, max(step, 0.05))
        return (other, reached) if reached > best else (t, best)

    def search(self, seconds: float) -> tuple[np.ndarray, float]:
        """The best thresholds (K-1,) of as many restarts as the CPU-seconds allow, and accuracy."""
        until = time.process_time() + seconds
        found, best = np.full(self.u.shape[1], np.inf), -np.inf
        while time.process_time() < until:
            t, reached = self.climbed(self.start(), until)
            if reached > best:
                found, best = t, reached
        return found, self.measure(found)[0]
