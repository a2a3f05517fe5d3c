"""A certificate for a better family: coordinate descent on one half, tested on the other.

As :mod:`~early_exit.calibration.certified`, but the policies, from safe to bold, are the path of
:mod:`~early_exit.calibration.coordinate` on a half of the samples (drawn with a fixed seed), and
the other half tests them: fewer samples to test with, better policies to test.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from early_exit.calibration import coordinate
from early_exit.calibration.certified import Certificate, certify
from early_exit.cost_model import Prices
from early_exit.samples import Samples
from early_exit.targets import QUALITIES, Target

KINDS = QUALITIES


def thresholds(samples: Samples, prices: Prices, targets: Sequence[Target]) -> np.ndarray:
    """The boldest certified policy for each target; see the package for the signature."""
    return np.stack([found for found, _ in certified(samples, prices, targets)])


def certified(
    samples: Samples, prices: Prices, targets: Sequence[Target]
) -> list[tuple[np.ndarray, Certificate]]:
    """The same thresholds, each with its certificate."""
    fitting, testing = samples.halves()
    family = coordinate.path(fitting, prices)
    return [certify(testing, family, target) for target in targets]
