"""Targets of a calibration method, from keyword arguments."""

from __future__ import annotations

import difflib
from pkgutil import iter_modules

from early_exit.calibration import methods
from early_exit.calibration.targets import KINDS, QUALITIES, Target
from early_exit.errors import InputError
from early_exit.policy.costs import CostModel

METHODS = tuple(sorted(module.name for module in iter_modules(methods.__path__)))


def method_named(name: str) -> str:
    """Return ``name`` if it is a calibration method.

    Raises
    ------
    InputError
        If the method is unknown; the message names the nearest.
    """
    return choice("method", name, METHODS)


def choice(what: str, value: str, known: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``known``; an error message calls it ``what``."""
    if value in known:
        return value
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f"did you mean {near[0]}? It" if near else "it"
    raise InputError(f"{what}: there is no {value!r}; {hint} must be one of {', '.join(known)}")


def target_of(arguments: dict[str, float | None], delta: float) -> Target:
    """The single target in ``arguments``, whose keys are kinds of targets or ``error``.

    Raises
    ------
    InputError
        If there is none, or several, or one is out of range.
    """
    given = {kind: value for kind, value in arguments.items() if value is not None}
    kinds = ", ".join(arguments)
    if len(given) != 1:
        found = f"{' and '.join(given)} are given" if given else "none is given"
        raise InputError(f"target: {found}", f"give exactly one of {kinds}")
    ((kind, value),) = given.items()
    _check(kind, value)
    if not 0 < delta < 1:
        raise InputError(f"delta: {delta:g}; it is a probability between 0 and 1")
    if kind == "error":
        return Target("accuracy", 1.0 - value, delta)
    return Target(kind, float(value), delta)


def _check(kind: str, value: float) -> None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{kind}: {value!r} is not a number") from None
    if kind in (*QUALITIES, "error"):
        least_included = kind == "drop"
        good = 0 <= number < 1 if least_included else 0 < number < 1
        expected = "a share from 0 to less than 1" if least_included else "a share between 0 and 1"
    else:
        good, expected = 0 < number < float("inf"), "a number greater than 0"
    if not good:
        raise InputError(f"{kind}: {number:g}; it must be {expected}")


def check_unit(costs: CostModel, unit: str, what: str) -> None:
    """Raise an error if there are no costs in ``unit``, which ``what`` needs."""
    choice("cost", unit, ("macs", "ms"))
    if not costs.knows(unit):
        raise InputError(
            f"{what}: needs costs in {unit}, but this run has costs in {costs.unit} alone",
            f"use {costs.unit}, or give {unit} with the logits",
        )


def check_target(target: Target, costs: CostModel) -> None:
    """Raise an error for a budget in a unit without costs."""
    unit = KINDS[target.kind]
    if unit is not None:
        check_unit(costs, unit, target.kind)
