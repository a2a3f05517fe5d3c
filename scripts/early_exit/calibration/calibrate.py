"""Calibration: thresholds for each target, found on the calibration split by any method.

A method is a module with a function ``thresholds(samples, costs, targets)``:

samples
    Uncertainties and correctness of the calibration split at K exits; under either exit rule a
    sample exits at low values (:class:`~early_exit.policy.samples.Samples`).
costs
    Costs of stages and heads, in the unit of the targets
    (:class:`~early_exit.policy.costs.UnitCosts`).
targets
    Accuracies, drops or budgets (:class:`~early_exit.calibration.targets.Target`).

It returns an array of shape (targets, K-1): infinity where all samples exit, minus infinity where
none does. A module may restrict the ``KINDS`` of targets that it takes, and may have a function
``certified`` with the same parameters that returns each row with its certificate. To add a method,
add a module to ``methods`` and its name to ``scripts/early_exit/config/schema.yaml``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from early_exit.calibration.targets import KINDS, Target, out_of_reach
from early_exit.errors import InputError
from early_exit.policy.costs import CostModel, UnitCosts
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import infeasible_row, simulate
from early_exit.policy.policy import Policy
from early_exit.policy.samples import Samples, held_out
from early_exit.records.table import Records


def calibrate(
    method: str,
    records: Records,
    costs: CostModel,
    targets: Sequence[Target],
    criterion: ExitCriterion,
    unit: str = "macs",
) -> pd.DataFrame:
    """Calibrate a method on ``records``: its operating point for each target that it takes.

    Parameters
    ----------
    criterion
        Measure, exit rule and temperatures.
    unit
        Unit of the cost that is minimised for accuracies and drops, ``macs`` or ``ms``.

    Returns
    -------
    pandas.DataFrame
        A row per target: ``method``, ``target_kind``, ``target``, the columns of
        :meth:`early_exit.policy.operating_point.OperatingPoint.row` and, for a method that gives
        certificates, ``certified_`` with the fields of
        :class:`early_exit.calibration.methods.certified.Certificate`. A budget that no policy meets
        has a row without numbers, and the reason in ``infeasible``; otherwise the table has no such
        column.

    Raises
    ------
    InputError
        If the method takes none of the targets.
    """
    samples, records = Samples.of(records, criterion), held_out(records, criterion)
    rows = []
    found = find(method, samples, costs, targets, unit)
    if not found:
        raise InputError(
            f"calibration.targets: {method} takes an accuracy or a drop, and there is none",
            f"add one, or remove {method} from calibration.methods",
        )
    for target, thresholds, certificate in found:
        own = {"method": method, "target_kind": target.kind, "target": target.value}
        if thresholds is None:
            reason = out_of_reach(target, costs.in_unit(target.unit(unit)))
            rows.append(own | infeasible_row(criterion, samples.exits, len(records), reason))
            continue
        point = simulate(Policy(criterion, samples.of_policy(thresholds)), records, costs)
        rows.append(own | point.row() | certificate)
    return pd.DataFrame(rows)


def find(
    method: str,
    samples: Samples,
    costs: CostModel,
    targets: Sequence[Target],
    unit: str = "macs",
) -> list[tuple[Target, Any, dict[str, Any]]]:
    """Each target that the method takes, with K-1 thresholds and the certificate.

    The thresholds are ``None`` if no policy meets the budget, and empty for a network with one
    exit. Where the criterion has parameters, they are found on the half of the samples that these
    were not fitted on; methods that give certificates divide the samples themselves.
    """
    if samples.all_heads:
        costs = costs.with_all_heads()
    if samples.exits == 1:
        return [(t, np.empty(0) if _affords(t, costs, unit) else None, {}) for t in targets]
    module = _module(method)
    if samples.fitted and not hasattr(module, "certified"):
        samples = samples.halves()[1]
    taken = [t for t in targets if takes(method, t.kind)]
    found = {}
    for own in ("macs", "ms"):
        in_unit = [t for t in taken if t.unit(unit) == own]
        if in_unit:
            found |= zip(in_unit, _rows(module, samples, costs.in_unit(own), in_unit), strict=True)
    rows = [(target, *found[target]) for target in taken]
    return [(t, None if np.isnan(row).any() else row, certificate) for t, row, certificate in rows]


def takes(method: str, kind: str) -> bool:
    """Whether a method takes targets of a kind."""
    return kind in getattr(_module(method), "KINDS", KINDS)


def _module(method: str) -> Any:
    return import_module(f"early_exit.calibration.methods.{method}")


def _affords(target: Target, costs: CostModel, unit: str) -> bool:
    """Whether the full network meets a target."""
    unit_costs = costs.in_unit(target.unit(unit))
    return target.is_quality or unit_costs.full_network <= target.most_cost(unit_costs) * (1 + 1e-9)


def _rows(
    module: Any, samples: Samples, costs: UnitCosts, targets: Sequence[Target]
) -> list[tuple[np.ndarray, dict[str, Any]]]:
    if not hasattr(module, "certified"):
        return [(row, {}) for row in module.thresholds(samples, costs, targets)]
    return [
        (row, {f"certified_{key}": value for key, value in asdict(certificate).items()})
        for row, certificate in module.certified(samples, costs, targets)
    ]
