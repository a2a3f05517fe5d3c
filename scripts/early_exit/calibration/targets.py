"""Targets of a policy: an accuracy, a drop against the full network, or a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples
from early_exit.policy.units import cost_words
from early_exit.statistics import pareto

# Unit of each kind's costs; None means that of the experiment (calibration.cost).
KINDS = {
    "accuracy": None,
    "drop": None,
    "macs": "macs",
    "macs_share": "macs",
    "ms": "ms",
    "ms_share": "ms",
}
QUALITIES = ("accuracy", "drop")
# Of larger sets, joint methods fit on this many samples, and evaluate on all.
MOST_FITTED = 100_000
# Policies of their front that are.
MOST_OF_FRONT = 400


@dataclass(frozen=True)
class Target:
    """A target of calibration.

    Attributes
    ----------
    kind
        ``accuracy``: minimum accuracy. ``drop``: maximum loss of accuracy against the full network.
        ``macs``, ``ms``: maximum mean cost per sample. ``macs_share``, ``ms_share``: the same as a
        share of the full network's cost.
    value
        The limit; accuracies, drops and shares are between 0 and 1.
    delta
        Probability that a certificate is issued and does not hold, for methods that give one.
    """

    kind: str
    value: float
    delta: float = 0.1

    @classmethod
    def parse(cls, setting: Any, delta: float = 0.1) -> Target:
        """Parse a setting: a number is an accuracy; a mapping has one kind and its value."""
        if isinstance(setting, dict):
            ((kind, value),) = setting.items()
            return cls(kind, float(value), delta)
        return cls("accuracy", float(setting), delta)

    @property
    def is_quality(self) -> bool:
        """Whether the target limits accuracy, not cost."""
        return self.kind in QUALITIES

    def unit(self, default: str) -> str:
        """Unit of the costs, ``macs`` or ``ms``; ``default`` for accuracies and drops."""
        return KINDS[self.kind] or default

    def least_correct(self, samples: Samples) -> int:
        """Minimum number of correct samples for an accuracy or a drop."""
        share = (
            self.value if self.kind == "accuracy" else samples.full_network_accuracy - self.value
        )
        # 0.7 of 10 samples are 7 of them, despite binary fractions.
        return max(0, int(np.ceil(share * len(samples) - 1e-9)))

    def most_cost(self, costs: UnitCosts) -> float:
        """The budget, in the unit of ``costs``."""
        share = self.kind.endswith("_share")
        return self.value * costs.full_network if share else self.value


def label(kind: str | float, value: float) -> str:
    """Label of a target in figures and tables: ``0.8``, ``drop 0.01``, ``25 % of MACs``."""
    if not isinstance(kind, str):
        # Thresholds of the user have no target.
        return "as given"
    if kind == "accuracy":
        return f"{value:g}"
    if kind in ("macs_share", "ms_share"):
        return f"{100 * value:g} % of {'MACs' if kind == 'macs_share' else 'time'}"
    if kind == "macs":
        # Smaller numbers are relative costs, which are not MACs: keep the setting's own name.
        return cost_words(value, digits="g") if value >= 1000 else f"macs {value:g}"
    return f"{value:g} ms" if kind == "ms" else f"{kind} {value:g}"


def out_of_reach(target: Target, costs: UnitCosts) -> str:
    """Reason why no policy meets a budget: the cost of the first exit."""
    least = (costs.stage[0] + costs.head[0]) / costs.full_network
    kind = f"{costs.unit}_share" if target.kind.endswith("_share") else costs.unit
    least = least if kind.endswith("_share") else least * costs.full_network
    words = label(kind, float(f"{least:.3g}"))
    return (
        f"no policy takes at most {label(target.kind, target.value)}: the first exit takes {words}"
    )


@dataclass(frozen=True)
class Candidates:
    """Policies with their results on the samples that they are chosen on.

    Attributes
    ----------
    thresholds
        Shape (P, K-1).
    correct
        Shape (P,), number of correct samples.
    cost
        Shape (P,), mean cost per sample.
    """

    thresholds: np.ndarray
    correct: np.ndarray
    cost: np.ndarray

    def __len__(self) -> int:
        return len(self.thresholds)

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Thresholds, numbers of correct samples and costs."""
        return self.thresholds, self.correct, self.cost

    def at(self, index: np.ndarray) -> Candidates:
        """The policies at ``index``, an array of indices or a mask."""
        return Candidates(self.thresholds[index], self.correct[index], self.cost[index])

    def joined(self, other: Candidates) -> Candidates:
        """These policies and those of ``other``."""
        pairs = zip(self.columns, other.columns, strict=True)
        return Candidates(*(np.concatenate(pair) for pair in pairs))


def evaluate(samples: Samples, costs: UnitCosts, thresholds: np.ndarray) -> Candidates:
    """Evaluate each row of ``thresholds`` (P, K-1) on ``samples``; equal rows are merged."""
    thresholds = np.unique(np.reshape(thresholds, (-1, samples.exits - 1)), axis=0)
    correct = np.empty(len(thresholds), np.int64)
    cost = np.empty(len(thresholds))
    for index, row in enumerate(thresholds):
        correct[index], counts = samples.counted(row)
        cost[index] = costs.mean(row, counts / len(samples))
    return Candidates(thresholds, correct, cost)


def with_ends(samples: Samples, costs: UnitCosts, thresholds: np.ndarray) -> Candidates:
    """As :func:`evaluate`, with the full network and the policy under which all exit at once."""
    ends = np.full((2, samples.exits - 1), np.inf)
    ends[0] = -np.inf
    return evaluate(samples, costs, np.concatenate([ends, thresholds]))


def on_all(samples: Samples, costs: UnitCosts, found: Candidates) -> Candidates:
    """Evaluate the front of what was found on some samples on all; with the ends."""
    front = pareto.front(found.correct, found.cost)
    few = np.linspace(0, len(front) - 1, min(len(front), MOST_OF_FRONT)).round().astype(int)
    return with_ends(samples, costs, found.thresholds[front[few]])


def pick_by_level(
    samples: Samples,
    costs: UnitCosts,
    targets: Sequence[Target],
    policy_for: Callable[[Samples, float], np.ndarray],
    levels: np.ndarray,
) -> np.ndarray:
    """Thresholds (T, K-1) of a method that defines a policy for each accuracy.

    An accuracy gets that policy; a drop or a budget the best policy over ``levels``.
    """
    family = None
    if any(target.kind != "accuracy" for target in targets):
        family = with_ends(samples, costs, np.stack([policy_for(samples, a) for a in levels]))
    return np.stack(
        [
            policy_for(samples, target.value)
            if target.kind == "accuracy"
            else pick(family, samples, costs, target)
            for target in targets
        ]
    )


def pick(candidates: Candidates, samples: Samples, costs: UnitCosts, target: Target) -> np.ndarray:
    """Thresholds (K-1,) of the best candidate for ``target`` on ``samples``.

    The cheapest candidate that is accurate enough, or the most accurate within the budget. If none
    is accurate enough, no sample exits early (minus infinity); if none meets the budget, NaN.
    """
    if target.is_quality:
        good = candidates.correct >= target.least_correct(samples)
        if not good.any():
            return np.full(samples.exits - 1, -np.inf)
        allowed = candidates.at(good)
        best = np.lexsort((-allowed.correct, allowed.cost))[0]
    else:
        budget = target.most_cost(costs)
        # Tolerance, since the full network's cost is summed in another order.
        good = candidates.cost <= budget * (1 + 1e-9)
        if not good.any():
            return np.full(samples.exits - 1, np.nan)
        allowed = candidates.at(good)
        best = np.lexsort((allowed.cost, -allowed.correct))[0]
    return allowed.thresholds[best]
