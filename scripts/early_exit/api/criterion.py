"""The exit criterion and the policies of a run, from names and numbers that a user gives."""

from __future__ import annotations

from collections.abc import Sequence

from early_exit.api.source import Source
from early_exit.api.targets import choice
from early_exit.calibration.criteria import fit
from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy, full_network
from early_exit.records.uncertainty.measures import GIVEN, NAMES, is_fitted

# Measures of a run from logits; calibration chooses among them.
MEASURES = ("margin", "max_probability", "entropy")
RULES = ("below", "above")


def criterion_of(
    measure: str, rule: str, exits: int, temperatures: tuple[float, ...] | None = None
) -> ExitCriterion:
    """Build the exit criterion for ``exits`` exits.

    Raises
    ------
    InputError
        If the measure or exit rule is unknown, or the temperatures are not one for each exit.
    """
    choice("measure", measure, (*NAMES, *GIVEN))
    choice("exit_rule", rule, RULES)
    # Checks the number of temperatures.
    full_network(ExitCriterion(MEASURES[0], rule, temperatures), exits)
    return ExitCriterion(measure, rule, temperatures)


def criteria_of(
    measures: str | Sequence[str],
    rule: str,
    exits: int,
    temperatures: tuple[float, ...] | None = None,
) -> tuple[ExitCriterion, ...]:
    """An exit criterion for each of the ``measures``, a name or several; errors as above.

    Parameters of criteria that have any are not fitted; see :func:`fitted`.
    """
    names = [measures] if isinstance(measures, str) else list(dict.fromkeys(measures))
    if not names:
        raise InputError("measure: an empty list", f"give one or more of {', '.join(MEASURES)}")
    return tuple(criterion_of(name, rule, exits, temperatures) for name in names)


def fitted(criteria: Sequence[ExitCriterion], source: Source) -> tuple[ExitCriterion, ...]:
    """The criteria, with the parameters of those that have any, fitted to calibration records.

    Raises
    ------
    InputError
        If there are no logits to fit them to.
    """
    if not any(is_fitted(own.measure) for own in criteria):
        return tuple(criteria)
    records = source.read_logits("calibration")
    return tuple(fit(records, own) for own in criteria)


def policy_at(criterion: ExitCriterion, thresholds: Sequence[float | str], exits: int) -> Policy:
    """Build a policy from K-1 thresholds, each a number, ``"never"`` or ``"always"``.

    Raises
    ------
    InputError
        If there are not K-1 thresholds, or one is neither a number nor one of the words.
    """
    if len(thresholds) != exits - 1:
        raise InputError(
            f"thresholds: {len(thresholds)} for {exits} exits",
            f"give {exits - 1}, one for each exit but the final one, or a single number for all",
        )
    return Policy(criterion, tuple(thresholds))
