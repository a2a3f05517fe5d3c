"""Percentiles of each exit's uncertainty: the published experiment's method.

At an exit whose accuracy on all samples exceeds the target, all samples exit. Any other exit gets
the (1 - target) percentile of its uncertainties over the full calibration split, including samples
that have exited before. It is provided for comparison; ``docs/published-experiment.md`` explains
its faults.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit.calibration.targets import Target, pick_by_level
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples

# Desired accuracies that are tried for a budget or a drop.
LEVELS = np.linspace(0.0, 1.0, 201)


def thresholds(samples: Samples, costs: UnitCosts, targets: Sequence[Target]) -> np.ndarray:
    """Thresholds for each target, shape (T, K-1).

    An accuracy gets the published thresholds; a budget or a drop the best of the policies for 201
    desired accuracies.
    """
    return pick_by_level(samples, costs, targets, percentiles, LEVELS)


def percentiles(samples: Samples, desired: float) -> np.ndarray:
    """The K-1 thresholds for one desired accuracy."""
    accuracy = samples.correct[:, :-1].mean(axis=0)
    # Percentiles are of the measure itself; under `above`, `samples` has it negated.
    level = 1.0 - desired if samples.rule.sign > 0 else desired
    percentile = np.quantile(samples.ordered, level, axis=1)
    return np.where(accuracy > desired, np.inf, percentile)
