"""Finding thresholds on the calibration split. One module for each method, one signature.

A method is a module with a function ``thresholds(samples, prices, targets)``:

samples
    What K exits said of the calibration split, turned so that lower leaves
    (:class:`~early_exit.samples.Samples`).
prices
    Of stages and heads, in the unit that the targets count in
    (:class:`~early_exit.cost_model.Prices`).
targets
    What is asked for: accuracies, drops or budgets (:class:`~early_exit.targets.Target`).

It returns an array of shape (targets, K-1): infinite where everybody leaves, minus infinite where
nobody does. A module may also say which ``KINDS`` of targets it takes, and have a function
``certified`` of the same arguments that gives each row with what it promises. Adding a method means
one new module here and its name in ``rules/config.schema.yaml``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from early_exit.cost_model import CostModel, Prices
from early_exit.errors import InputError
from early_exit.operating_point import simulate
from early_exit.policy import Policy
from early_exit.records import Records
from early_exit.samples import Samples
from early_exit.targets import KINDS, Target


def calibrate(
    method: str,
    records: Records,
    costs: CostModel,
    targets: Sequence[Target],
    sees: Policy,
    unit: str = "macs",
) -> pd.DataFrame:
    """A method's operating point on ``records`` for each target that it takes, a row each.

    Parameters
    ----------
    sees
        The policy whose measure, rule and temperatures are used; its thresholds are not.
    unit
        What accuracies and drops shall be cheap in, ``macs`` or ``ms``.

    Returns
    -------
    pandas.DataFrame
        ``method``, ``target_kind``, ``target``, the columns of
        :meth:`early_exit.operating_point.OperatingPoint.row` and, of a method that gives
        certificates, ``certified_`` with the fields of
        :class:`early_exit.calibration.certified.Certificate`.

    Raises
    ------
    InputError
        If the method takes none of the targets.
    """
    samples = Samples.of(records, sees)
    rows = []
    found = find(method, samples, costs, targets, unit)
    if not found:
        raise InputError(
            f"calibration.targets: {method} promises an accuracy or a drop, and none is asked for;"
            f" add one, or take {method} out of calibration.methods"
        )
    for target, thresholds, promise in found:
        point = simulate(sees.at(samples.of_policy(thresholds)), records, costs)
        own = {"method": method, "target_kind": target.kind, "target": target.value}
        rows.append(own | point.row() | promise)
    return pd.DataFrame(rows)


def find(
    method: str,
    samples: Samples,
    costs: CostModel,
    targets: Sequence[Target],
    unit: str = "macs",
) -> list[tuple[Target, Any, dict[str, Any]]]:
    """For each target that the method takes: the target, K-1 thresholds, and the certificate.

    A network with one exit has nothing to find.
    """
    if samples.exits == 1:
        return [(target, np.empty(0), {}) for target in targets]
    module = import_module(f"{__name__}.{method}")
    taken = [t for t in targets if t.kind in getattr(module, "KINDS", KINDS)]
    found = {}
    for own in ("macs", "ms"):
        asked = [t for t in taken if t.unit(unit) == own]
        if asked:
            found |= zip(asked, _rows(module, samples, costs.prices(own), asked), strict=True)
    return [(target, *found[target]) for target in taken]


def _rows(
    module: Any, samples: Samples, prices: Prices, targets: Sequence[Target]
) -> list[tuple[np.ndarray, dict[str, Any]]]:
    if not hasattr(module, "certified"):
        return [(row, {}) for row in module.thresholds(samples, prices, targets)]
    return [
        (row, {f"certified_{key}": value for key, value in asdict(promise).items()})
        for row, promise in module.certified(samples, prices, targets)
    ]
