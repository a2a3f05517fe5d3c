"""One threshold for all exits: the loosest whose accuracy on the calibration split is the target.

BranchyNet's own experiments screen thresholds like this (Teerapittayanon et al. 2016, section IV).
Exact: every threshold at which anything changes is tried, since accuracy need not fall steadily.
"""

from __future__ import annotations

import numpy as np

from early_exit.cost_model import CostModel
from early_exit.policy import ExitRule
from early_exit.records import Records
from early_exit.sweep import curves


def thresholds(
    records: Records, costs: CostModel, target: float, measure: str, rule: ExitRule
) -> np.ndarray:
    """K-1 equal thresholds for the accuracy ``target``; see the package for the signature.

    Where no threshold reaches the target, nobody leaves early.
    """
    uncertainty = records.uncertainty(measure)
    exits = records.exits - 1
    # The comparison is strict: just above a sample's uncertainty it leaves, at it it does not.
    candidates = np.append(np.unique(uncertainty[:, :exits].astype(np.float64)), rule.always)
    _, accuracy = curves(uncertainty, records.correct, rule, candidates)
    good = candidates[accuracy >= target]
    loosest = max(good, key=lambda t: rule.sign * t) if len(good) else rule.never
    return np.full(exits, loosest)
