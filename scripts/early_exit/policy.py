"""When a sample leaves: measure, exit rule and one threshold for each exit but the last.

A *policy* says which exits fire. Under the rule ``below`` (BranchyNet, Teerapittayanon et al.
2016, algorithm 1) a sample leaves at the first exit where its uncertainty is strictly below the
threshold; under ``above`` (the published experiment) where it is strictly above. The last exit
takes the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np

from early_exit.errors import InputError
from early_exit.uncertainty import RECORDED

NEVER = "never"
ALWAYS = "always"


class ExitRule(Enum):
    """Which side of the threshold leaves."""

    BELOW = "below"
    ABOVE = "above"

    @property
    def sign(self) -> int:
        """+1 under ``below``, -1 under ``above``: times it, *lower leaves* holds for both."""
        return 1 if self is ExitRule.BELOW else -1

    @property
    def never(self) -> float:
        """The threshold at which nobody leaves: minus infinity under ``below``."""
        return -math.inf * self.sign

    @property
    def always(self) -> float:
        """The threshold at which everybody leaves: infinity under ``below``."""
        return math.inf * self.sign

    def leaves(self, uncertainty: Any, threshold: Any) -> Any:
        """Whether each sample leaves, elementwise. Takes numpy arrays and torch tensors alike."""
        return uncertainty < threshold if self is ExitRule.BELOW else uncertainty > threshold


@dataclass(frozen=True)
class Policy:
    """Measure, exit rule and the thresholds of exits 1..K-1.

    Attributes
    ----------
    measure
        Name of the uncertainty measure.
    rule
        Which side of a threshold leaves.
    thresholds
        K-1 floats in the unit of the measure; infinite ones mean *never* or *always*.
    temperatures
        K positive numbers by which the exits' logits are divided before the measure looks at them
        (Guo et al. 2017, section 4.2), or ``None`` for logits as they are.

    Raises
    ------
    InputError
        If a threshold is not a number, or there is not one positive temperature for each exit.
    """

    measure: str
    rule: ExitRule
    thresholds: tuple[float, ...]
    temperatures: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "thresholds", tuple(float(t) for t in self.thresholds))
        if any(math.isnan(t) for t in self.thresholds):
            raise InputError(f"policy: a threshold is not a number: {list(self.thresholds)}")
        if self.temperatures is None:
            return
        object.__setattr__(self, "temperatures", tuple(float(t) for t in self.temperatures))
        if len(self.temperatures) != self.exits or not all(
            0 < t < math.inf for t in self.temperatures
        ):
            raise InputError(
                f"policy: needs a positive temperature for each of {self.exits} exits, not"
                f" {list(self.temperatures)}"
            )

    @property
    def exits(self) -> int:
        """K, the number of exits, the last one among them."""
        return len(self.thresholds) + 1

    @property
    def needs_logits(self) -> bool:
        """Whether what the records hold besides logits does not suffice to simulate it."""
        return self.measure not in RECORDED or self.temperatures is not None

    @property
    def whole(self) -> Policy:
        """The policy under which nobody leaves early and no head but the last runs."""
        return self.at((self.rule.never,) * len(self.thresholds))

    def at(self, thresholds: tuple[float, ...]) -> Policy:
        """The policy with other thresholds."""
        return replace(self, thresholds=thresholds)

    def under(self, rule: ExitRule) -> Policy:
        """The policy that nobody leaves by, under another exit rule."""
        return replace(self, rule=rule).whole

    @property
    def heads_run(self) -> tuple[bool, ...]:
        """For each of the K exits, whether its head must run: not where nobody can leave."""
        return (*(t != self.rule.never for t in self.thresholds), True)

    def exits_taken(self, uncertainty: np.ndarray) -> np.ndarray:
        """The exit at which each sample leaves, simulated from recorded uncertainties.

        Parameters
        ----------
        uncertainty
            Shape (N, K). The last column is not read: the last exit takes whoever is left.

        Returns
        -------
        numpy.ndarray
            Shape (N,), numbers from 0 (exit 1) to K-1.

        Raises
        ------
        InputError
            If the records have another number of exits than the policy.
        """
        if uncertainty.shape[1] != self.exits:
            raise InputError(
                f"policy: made for {self.exits} exits, the records have {uncertainty.shape[1]}"
            )
        # The array of thresholds is in double precision, and so is the comparison: a threshold that
        # was taken from the records is that very element.
        leaves = self.rule.leaves(uncertainty[:, :-1], np.asarray(self.thresholds))
        leaves = np.concatenate([leaves, np.ones((len(uncertainty), 1), bool)], axis=1)
        return leaves.argmax(axis=1)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for JSON; infinite thresholds become ``"never"`` and ``"always"``."""
        words = {self.rule.never: NEVER, self.rule.always: ALWAYS}
        return {
            "measure": self.measure,
            "exit_rule": self.rule.value,
            "thresholds": [words.get(t, t) for t in self.thresholds],
            "temperatures": self.temperatures and list(self.temperatures),
        }

    @classmethod
    def from_json(cls, content: Any, where: str = "policy") -> Policy:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        InputError
            If a key is missing or a value is none that a policy can have.
        """
        try:
            rule = ExitRule(content["exit_rule"])
            words = {NEVER: rule.never, ALWAYS: rule.always}
            thresholds = tuple(
                words[t] if isinstance(t, str) else float(t) for t in content["thresholds"]
            )
            # Policies of earlier versions have none.
            temperatures = content.get("temperatures")
            return cls(str(content["measure"]), rule, thresholds, temperatures)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where}: no policy ({type(error).__name__}: {error}); it needs measure, exit_rule"
                ' (below or above) and thresholds (numbers, "never" or "always")'
            ) from error


def uniform(
    measure: str,
    rule: ExitRule,
    threshold: float,
    exits: int,
    temperatures: tuple[float, ...] | None = None,
) -> Policy:
    """The policy with one threshold for all of ``exits`` exits but the last."""
    return Policy(measure, rule, (threshold,) * (exits - 1), temperatures)


def whole_network(
    measure: str, rule: ExitRule, exits: int, temperatures: tuple[float, ...] | None = None
) -> Policy:
    """The policy under which nobody leaves early and no head but the last runs."""
    return uniform(measure, rule, rule.never, exits, temperatures)
