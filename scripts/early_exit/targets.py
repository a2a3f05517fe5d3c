"""What is asked of a policy: an accuracy, a loss against the whole network, or a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from early_exit.cost_model import Prices
from early_exit.errors import InputError
from early_exit.samples import Samples

# The unit in which each kind counts; None leaves it to the experiment (calibration.cost).
KINDS = {
    "accuracy": None,
    "drop": None,
    "macs": "macs",
    "macs_share": "macs",
    "ms": "ms",
    "ms_share": "ms",
}
QUALITIES = ("accuracy", "drop")


@dataclass(frozen=True)
class Target:
    """One thing asked for.

    Attributes
    ----------
    kind
        ``accuracy``: at least this share right. ``drop``: at most this much less than the whole
        network. ``macs``, ``ms``: at most this much a sample. ``macs_share``, ``ms_share``: at most
        this share of what the whole network takes.
    value
        Shares are between 0 and 1.
    delta
        The probability with which a promise may fail, where a method makes one.
    """

    kind: str
    value: float
    delta: float = 0.1

    @classmethod
    def parse(cls, setting: Any, delta: float = 0.1) -> Target:
        """From the configuration: a number is an accuracy, else a map of one kind."""
        if isinstance(setting, dict):
            ((kind, value),) = setting.items()
            return cls(kind, float(value), delta)
        return cls("accuracy", float(setting), delta)

    @property
    def is_quality(self) -> bool:
        """Whether an accuracy is asked for, and not a budget."""
        return self.kind in QUALITIES

    def unit(self, default: str) -> str:
        """What its policies are priced in, ``macs`` or ``ms``."""
        return KINDS[self.kind] or default

    def least_correct(self, samples: Samples) -> int:
        """How many samples must be right for an accuracy or a drop."""
        share = self.value if self.kind == "accuracy" else samples.whole_accuracy - self.value
        # A share such as 0.7 of 10 samples is 7 of them, whatever binary fractions make of it.
        return max(0, int(np.ceil(share * len(samples) - 1e-9)))

    def most_cost(self, prices: Prices) -> float:
        """The budget, in the unit of ``prices``."""
        share = self.kind.endswith("_share")
        return self.value * prices.whole if share else self.value


def label(kind: str | float, value: float) -> str:
    """How a target is called in figures and tables: ``0.8``, ``drop 0.01``, ``25 % of MACs``."""
    if kind == "accuracy":
        return f"{value:g}"
    if kind in ("macs_share", "ms_share"):
        return f"{100 * value:g} % of {'MACs' if kind == 'macs_share' else 'time'}"
    if kind == "macs":
        return f"{value / 1e6:g} M MACs"
    return f"{value:g} ms" if kind == "ms" else f"{kind} {value:g}"


@dataclass(frozen=True)
class Candidates:
    """Policies with what they give on the samples that they are chosen by.

    Attributes
    ----------
    thresholds
        Shape (P, K-1).
    correct
        Shape (P,), how many samples are right.
    cost
        Shape (P,), mean cost of a sample.
    """

    thresholds: np.ndarray
    correct: np.ndarray
    cost: np.ndarray

    def __len__(self) -> int:
        return len(self.thresholds)

    @property
    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Thresholds, right samples and cost."""
        return self.thresholds, self.correct, self.cost

    def at(self, places: np.ndarray) -> Candidates:
        """The policies at ``places``."""
        return Candidates(self.thresholds[places], self.correct[places], self.cost[places])


def evaluate(samples: Samples, prices: Prices, thresholds: np.ndarray) -> Candidates:
    """What each row of ``thresholds`` (P, K-1) gives on ``samples``."""
    thresholds = np.unique(np.reshape(thresholds, (-1, samples.exits - 1)), axis=0)
    correct = np.empty(len(thresholds), np.int64)
    cost = np.empty(len(thresholds))
    for place, row in enumerate(thresholds):
        taken = samples.taken(row)
        correct[place] = samples.right(taken).sum()
        shares = np.bincount(taken, minlength=samples.exits) / len(samples)
        cost[place] = prices.mean(row, shares)
    return Candidates(thresholds, correct, cost)


def with_ends(samples: Samples, prices: Prices, thresholds: np.ndarray) -> Candidates:
    """As :func:`evaluate`, with two that every method may fall back on.

    The safest policy, nobody leaving, and the cheapest, everybody leaving at once.
    """
    ends = np.full((2, samples.exits - 1), np.inf)
    ends[0] = -np.inf
    return evaluate(samples, prices, np.concatenate([ends, thresholds]))


def pick_by_level(
    samples: Samples,
    prices: Prices,
    targets: Sequence[Target],
    policy_for: Callable[[Samples, float], np.ndarray],
    levels: np.ndarray,
) -> np.ndarray:
    """Thresholds (T, K-1) of a method that has a policy for each accuracy.

    For an accuracy that policy; for a drop or a budget the best of those for ``levels``.
    """
    family = None
    if any(target.kind != "accuracy" for target in targets):
        family = with_ends(samples, prices, np.stack([policy_for(samples, a) for a in levels]))
    return np.stack(
        [
            policy_for(samples, target.value)
            if target.kind == "accuracy"
            else pick(family, samples, prices, target)
            for target in targets
        ]
    )


def pick(candidates: Candidates, samples: Samples, prices: Prices, target: Target) -> np.ndarray:
    """The thresholds of the candidate that serves ``target`` best on ``samples``.

    The cheapest that is right often enough, or the most accurate within the budget. Where no
    candidate is right often enough, nobody leaves early.

    Raises
    ------
    InputError
        If no candidate keeps to the budget.
    """
    if target.is_quality:
        good = candidates.correct >= target.least_correct(samples)
        if not good.any():
            return np.full(samples.exits - 1, -np.inf)
        allowed = candidates.at(good)
        best = np.lexsort((-allowed.correct, allowed.cost))[0]
    else:
        budget = target.most_cost(prices)
        # What the budget is a share of was added up in another order.
        good = candidates.cost <= budget * (1 + 1e-9)
        if not good.any():
            raise InputError(
                f"calibration.targets: no policy takes at most {label(target.kind, target.value)};"
                f" the cheapest takes {candidates.cost.min():.4g} {prices.unit} a sample, the whole"
                f" network {prices.whole:.4g}: raise the budget"
            )
        allowed = candidates.at(good)
        best = np.lexsort((allowed.cost, -allowed.correct))[0]
    return allowed.thresholds[best]
