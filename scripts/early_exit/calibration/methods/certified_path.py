"""Certified thresholds from the path of coordinate descent.

As :mod:`~early_exit.calibration.methods.certified`, but the policies, from safe to bold, are the
path of :mod:`~early_exit.calibration.methods.coordinate` on one half of the samples (drawn with a
fixed seed). The other half tests them: the policies are better, but tested on fewer samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit.calibration.methods import coordinate
from early_exit.calibration.methods.certified import Certificate, certify
from early_exit.calibration.targets import QUALITIES, Target
from early_exit.policy.costs import UnitCosts
from early_exit.policy.samples import Samples

KINDS = QUALITIES


def thresholds(samples: Samples, costs: UnitCosts, targets: Sequence[Target]) -> np.ndarray:
    """The boldest certified policy for each target, shape (T, K-1)."""
    return np.stack([found for found, _ in certified(samples, costs, targets)])


def certified(
    samples: Samples, costs: UnitCosts, targets: Sequence[Target]
) -> list[tuple[np.ndarray, Certificate]]:
    """The thresholds for each target, with their certificates."""
    fitting, testing = samples.halves()
    family = coordinate.path(fitting, costs)
    return [certify(testing, family, target) for target in targets]
