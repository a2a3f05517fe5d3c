"""Exit criterion: a policy without its thresholds (measure, its parameters, rule, temperatures).

Under the rule ``below`` (BranchyNet, Teerapittayanon et al. 2016, algorithm 1) a sample exits if
its uncertainty is strictly below the threshold; under ``above`` (the published experiment), if it
is strictly above.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np

from early_exit.errors import InputError
from early_exit.records.table import Key, Records
from early_exit.records.uncertainty import measures
from early_exit.records.uncertainty.measures import CONFIDENCE, RECORDED


class ExitRule(Enum):
    """The side of the threshold on which samples exit."""

    BELOW = "below"
    ABOVE = "above"

    @property
    def sign(self) -> int:
        """+1 under ``below``, -1 under ``above``; turned by it, the lower exit under both rules."""
        return 1 if self is ExitRule.BELOW else -1

    @property
    def never(self) -> float:
        """The threshold at which no sample exits: minus infinity under ``below``."""
        return -math.inf * self.sign

    @property
    def always(self) -> float:
        """The threshold at which every sample exits: infinity under ``below``."""
        return math.inf * self.sign

    def met(self, uncertainty: Any, threshold: Any) -> Any:
        """Whether each sample exits, elementwise, for numpy arrays or torch tensors."""
        return uncertainty < threshold if self is ExitRule.BELOW else uncertainty > threshold

    def in_single(self, threshold: float) -> float:
        """The single-precision threshold at which the same single-precision uncertainties exit.

        Rounding to the nearest would not do: 0.7 becomes less than 0.7, and an uncertainty between
        the two would not exit.
        """
        with np.errstate(over="ignore"):
            single = np.float32(threshold)
        if self.sign * float(single) < self.sign * threshold:
            single = np.nextafter(single, np.float32(self.always))
        return float(single)


@dataclass(frozen=True, repr=False)
class ExitCriterion:
    """Measure, exit rule, temperatures and fitted parameters by which samples exit.

    Attributes
    ----------
    measure
        Name of the uncertainty measure or criterion: ``margin``, ``max_probability``, ``entropy``
        or another of :data:`early_exit.records.uncertainty.measures.NAMES`; ``confidence`` for 1 -
        the confidence that the network's heads return; or ``external`` for uncertainties of
        external records.
    rule
        The side of the threshold on which samples exit; also accepted as ``"below"`` or
        ``"above"``.
    temperatures
        K positive numbers by which the exits' logits are divided before the measure is computed
        (Guo et al. 2017, section 4.2), or ``None`` for logits as they are. Always ``None`` for
        ``confidence``, which is not computed from logits.
    parameters
        JSON of the parameters that :func:`early_exit.calibration.criteria.fit` found, also accepted
        as a dictionary; ``None`` for a measure that has none.

    Raises
    ------
    InputError
        If the rule is unknown or a temperature is not a positive number.

    Examples
    --------
    >>> ExitCriterion("margin", "above")
    ExitCriterion('margin', 'above')
    >>> ExitCriterion().met(np.array([0.2, 0.5]), 0.5).tolist()
    [True, False]
    """

    measure: str = "entropy"
    rule: ExitRule = ExitRule.BELOW
    temperatures: tuple[float, ...] | None = None
    parameters: str | None = None

    def __post_init__(self) -> None:
        if self.parameters is not None:
            given = self.parameters
            content = given if isinstance(given, Mapping) else json.loads(given)
            # Equal parameters are equal texts.
            object.__setattr__(self, "parameters", json.dumps(content, sort_keys=True))
        try:
            object.__setattr__(self, "rule", ExitRule(self.rule))
        except ValueError as error:
            raise InputError(
                f"exit criterion: unknown exit rule {self.rule!r}; it must be below or above"
            ) from error
        if self.measure == CONFIDENCE:
            object.__setattr__(self, "temperatures", None)
        if self.temperatures is None:
            return
        object.__setattr__(self, "temperatures", tuple(float(t) for t in self.temperatures))
        if not all(0 < t < math.inf for t in self.temperatures):
            raise InputError(
                "exit criterion: needs a positive temperature for each exit, not"
                f" {list(self.temperatures)}"
            )

    def __repr__(self) -> str:
        scaled = "" if self.temperatures is None else f", {self.temperatures}"
        return f"ExitCriterion({self.measure!r}, {self.rule.value!r}{scaled})"

    @property
    def key(self) -> Key:
        """Measure, temperatures and parameters, which determine the uncertainties."""
        return self.measure, self.temperatures, self.parameters

    @property
    def fitted(self) -> bool:
        """Whether it has parameters, which were fitted on one half of the calibration split."""
        return self.parameters is not None

    @property
    def uses_earlier(self) -> bool:
        """Whether it looks at the exits before, so that the heads of all exits passed must run."""
        return measures.uses_earlier(self.measure)

    @property
    def needs_logits(self) -> bool:
        """Whether uncertainties must be computed from logits, as records have no such column."""
        return self.measure not in RECORDED or self.temperatures is not None

    def uncertainty(self, records: Records) -> np.ndarray:
        """Uncertainties (N, K) of ``records`` by this measure, after temperature scaling.

        Raises
        ------
        InputError
            If the records contain another measure, or lack logits that are needed.
        """
        return records.seen_by(self.key)[0]

    def correct(self, records: Records) -> np.ndarray:
        """Shape (N, K), whether the prediction with which a sample exits at each exit is right."""
        return self.prediction(records) == records.label[:, None]

    def prediction(self, records: Records) -> np.ndarray:
        """Shape (N, K), the class predicted if a sample exits at each exit."""
        return records.seen_by(self.key)[1]

    def met(self, uncertainty: Any, thresholds: Any) -> Any:
        """Whether samples exit: uncertainties compared with thresholds, elementwise."""
        return self.rule.met(uncertainty, thresholds)

    def under(self, rule: ExitRule) -> ExitCriterion:
        """The criterion with another exit rule."""
        return replace(self, rule=rule)
