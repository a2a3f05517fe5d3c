"""Percentiles of each exit's uncertainty: the published experiment's method.

An exit that is by itself more accurate than the target lets everybody leave. Any other gets the
(1 - target) percentile of its uncertainties over the whole calibration split, whoever would already
have left. It is offered because users come with it; ``docs/published-experiment.md`` says what is
wrong with it.
"""

from __future__ import annotations

import numpy as np

from early_exit.cost_model import CostModel
from early_exit.policy import ExitRule
from early_exit.records import Records


def thresholds(
    records: Records, costs: CostModel, target: float, measure: str, rule: ExitRule
) -> np.ndarray:
    """K-1 thresholds for the accuracy ``target``; see the package for the signature."""
    return percentiles(records, target, measure, rule)


def percentiles(records: Records, target: float, measure: str, rule: ExitRule) -> np.ndarray:
    """The same: the prices of stages and heads do not enter."""
    accuracy = records.correct[:, :-1].mean(axis=0)
    uncertainty = records.uncertainty(measure)[:, :-1].astype(np.float64)
    percentile = np.quantile(uncertainty, 1.0 - target, axis=0)
    return np.where(accuracy > target, rule.always, percentile)
