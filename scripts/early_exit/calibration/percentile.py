"""Percentiles of each exit's uncertainty: the published experiment's method.

An exit that is by itself more accurate than the target lets everybody leave. Any other gets the
(1 - target) percentile of its uncertainties over the whole calibration split, whoever would already
have left. It is offered because users come with it; ``docs/published-experiment.md`` says what is
wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit.cost_model import Prices
from early_exit.samples import Samples
from early_exit.targets import Target, pick_by_level

# The desired accuracies that a budget or a drop is met with.
LEVELS = np.linspace(0.0, 1.0, 201)


def thresholds(samples: Samples, prices: Prices, targets: Sequence[Target]) -> np.ndarray:
    """For an accuracy the published thresholds; see the package for the signature.

    For a budget or a drop the best of the policies for 201 desired accuracies.
    """
    return pick_by_level(samples, prices, targets, percentiles, LEVELS)


def percentiles(samples: Samples, desired: float) -> np.ndarray:
    """The K-1 thresholds for one desired accuracy."""
    accuracy = samples.correct[:, :-1].mean(axis=0)
    # Of the measure as it is: under `above` the samples turn it round.
    level = 1.0 - desired if samples.rule.sign > 0 else desired
    percentile = np.quantile(samples.uncertainty, level, axis=0)
    return np.where(accuracy > desired, np.inf, percentile)
