"""What a graph that decides where a sample exits must know of a policy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from early_exit.records.uncertainty.measures import CONFIDENCE

if TYPE_CHECKING:
    from early_exit.policy.policy import Policy

# Measures that are a few operators of ONNX.
MEASURES = ("entropy", "max_probability", "margin", CONFIDENCE)


class Decisions(NamedTuple):
    """What a graph must know of a policy. Costs are measured with it, and policies are not.

    Attributes
    ----------
    measure
        One of :data:`MEASURES`, for there to be a graph.
    below
        Whether samples exit below the threshold.
    temperatures
        Of the K exits, or ``None``.
    runs
        Whether the head of each of the K exits runs, and decides.
    thresholds
        Of the exits but the last, in single precision.
    """

    measure: str
    below: bool
    temperatures: tuple[float, ...] | None
    runs: tuple[bool, ...]
    thresholds: tuple[float, ...]

    @classmethod
    def of(cls, policy: Policy) -> Decisions:
        """Those of a policy."""
        thresholds = tuple(policy.rule.in_single(one) for one in policy.thresholds)
        below = policy.rule.sign > 0
        return cls(policy.measure, below, policy.temperatures, policy.heads_run, thresholds)

    @property
    def never(self) -> float:
        """The threshold at which no sample exits."""
        return -math.inf if self.below else math.inf

    @property
    def always(self) -> float:
        """The threshold at which every sample exits."""
        return -self.never
