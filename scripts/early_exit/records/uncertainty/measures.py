"""Uncertainty measures and other exit criteria, by name; a low uncertainty is sure.

A measure is a module with the functions ``uncertainty(logits)``, from logits of shape ``(..., C)``
to uncertainties of shape ``(...)``, and ``maximum(classes)``. It uses functions that torch and
numpy with scipy share, so records and the running network use the same code.

A criterion that needs more has, in place of ``uncertainty``, a function ``step(logits, memory,
exit, parameters)``, from logits (N, C) of an exit, from 0, to the uncertainty (N,), the prediction
(N,) if it is not the exit's own, and the memory for the next exit: a tuple of arrays with N rows,
empty before the first. The module may have ``fit(logits, labels)``, which returns parameters for
JSON: lists with an element for each exit but the last. ``EARLIER = True`` says that memory is used:
then the heads of all exits passed must run. At the final exit, where nothing is decided, the
prediction is the exit's own and the uncertainty one minus the margin.

External records may have uncertainties instead of logits. These are the measure ``external``, with
any unit and range. Heads of a network may return a confidence with their logits, any number. One
minus that is the measure ``confidence``. Neither has a module.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from early_exit.errors import InputError
from early_exit.records.uncertainty.features import margin

# Measure of uncertainties in external records.
EXTERNAL = "external"
# A confidence that the network's heads return; it is no function of the logits.
CONFIDENCE = "confidence"
# Measures without a module.
GIVEN = (EXTERNAL, CONFIDENCE)
# Measures that records have as columns; the others are computed from logits.
RECORDED = ("entropy", *GIVEN)
# What is in this folder besides the criteria.
SHARED = ("backend", "features", "measures")
# All measures and criteria, one for each module.
NAMES = tuple(
    one.name for one in iter_modules([str(Path(__file__).parent)]) if one.name not in SHARED
)
# Former names, in files of earlier versions.
RENAMED = {"given": EXTERNAL}
# Uncertainty, prediction if it is not the exit's own, and memory.
Step = Callable[[Any, int, tuple[Any, ...]], tuple[Any, Any, tuple[Any, ...]]]


def is_fitted(name: str) -> bool:
    """Whether a criterion has parameters, which are fitted on half of the calibration split."""
    return name not in GIVEN and hasattr(module(name), "fit")


def module(name: str) -> ModuleType:
    """The module of a measure or criterion.

    Raises
    ------
    InputError
        If it is ``external`` or ``confidence``, which are not computed from logits, or unknown.
    """
    if name == CONFIDENCE:
        raise InputError(
            "measure: confidence is what a network's heads return, and no function of the logits",
            f"set it to one of {', '.join(NAMES)}",
        )
    if name == EXTERNAL:
        raise InputError(
            "measure: external is for external records; a network has logits",
            f"set it to one of {', '.join(NAMES)}",
        )
    if name not in NAMES:
        raise InputError(
            f"measure: {name!r} is unknown; it must be one of {', '.join((*NAMES, CONFIDENCE))}"
        )
    return import_module(f"early_exit.records.uncertainty.{name}")


def measure(name: str) -> Callable[[Any], Any]:
    """Function of the logits of one exit, for a measure that has one; errors of :func:`module`."""
    return module(name).uncertainty


def uses_earlier(name: str) -> bool:
    """Whether a criterion looks at the exits before, so that their heads must run."""
    return name not in GIVEN and getattr(module(name), "EARLIER", False)


def step(name: str, parameters: str | None, exits: int) -> Step:
    """Function of logits (N, C), exit (from 0) and memory, for any measure or criterion.

    Parameters
    ----------
    parameters
        JSON of the fitted parameters, if the criterion has any.
    exits
        K.
    """
    own = module(name)
    if hasattr(own, "uncertainty"):
        return lambda logits, exit, memory: (own.uncertainty(logits), None, ())
    fitted = read(parameters)

    def run(logits: Any, exit: int, memory: tuple[Any, ...]) -> tuple[Any, Any, tuple[Any, ...]]:
        if exit == exits - 1:
            return 1 - margin(logits), None, ()
        return own.step(logits, memory, exit, fitted)

    return run


@cache
def read(parameters: str | None) -> dict[str, Any]:
    """Fitted parameters from their JSON; none for ``None``."""
    return json.loads(parameters) if parameters else {}


def check_parameters(name: str, parameters: str | None, exits: int) -> None:
    """Check fitted parameters for a network of K exits.

    Raises
    ------
    InputError
        If the criterion is unknown, it has parameters and these are missing, or the other way
        round, or they are not finite numbers for each exit but the last.
    """
    if is_fitted(name) != (parameters is not None):
        must = "has no parameters" if parameters else "needs its fitted parameters"
        raise InputError(f"exit criterion: {name} {must}")
    for key, values in read(parameters).items():
        shaped = isinstance(values, list) and len(values) == exits - 1
        if not shaped or not all(map(_finite, values)):
            raise InputError(
                f"exit criterion: {name} needs {key} for each of {exits - 1} exits, finite numbers"
            )


def _finite(values: Any) -> bool:
    """Whether nested lists have finite numbers alone."""
    if isinstance(values, list):
        return bool(values) and all(map(_finite, values))
    known = isinstance(values, int | float) and not isinstance(values, bool)
    return known and math.isfinite(values)


def available(
    wanted: Sequence[str], external: bool, logits: bool, confidence: bool = False
) -> list[str]:
    """Those of the ``wanted`` measures that records allow; all of them if none does.

    Parameters
    ----------
    external, logits, confidence
        Whether the records have external uncertainties, logits, and confidences. Where they have
        external uncertainties, these replace a list of measures, but not a single one.
    """
    if external:
        return [EXTERNAL] if len(wanted) > 1 else list(wanted)
    found = [
        name
        for name in wanted
        if (confidence if name == CONFIDENCE else logits or name in RECORDED)
    ]
    return found or list(wanted)


def maximum(name: str, classes: int) -> float:
    """Largest value of a measure, for equally likely classes; infinite for one without a module."""
    return math.inf if name in GIVEN else module(name).maximum(classes)
