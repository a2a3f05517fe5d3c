"""The explorer of records without a workflow: policies are calibrated here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from early_exit.analysis.frontier import of_method
from early_exit.explorer.page import Content
from early_exit.explorer.policies import offered
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.policy.samples import held_out
from early_exit.records.table import Records

# Methods and budgets of the policies.
METHODS, BUDGETS = ("uniform", "coordinate"), 10
DELTA = 0.1


def assembled(
    name: str,
    splits: Mapping[str, Records],
    costs: CostModel,
    cost_unit: str,
    criteria: Sequence[ExitCriterion],
    class_names: Sequence[str] | None = None,
    chosen: Policy | None = None,
) -> Content:
    """Content of the page, with policies for a range of budgets by each criterion.

    Parameters
    ----------
    splits
        Records of ``calibration`` and, if there is one, ``test``, with what the criteria need.
    chosen
        The chosen policy, if there is one.
    """
    fitted = next((own for own in criteria if own.fitted), criteria[0])
    shown = dict(splits) | {"calibration": held_out(splits["calibration"], fitted)}
    records = shown["calibration"]
    facts = [f"{records.exits} exits"]
    if not records.external:
        facts.append(f"{records.classes} classes")
    facts.append(", ".join(f"{len(own):,} {split}" for split, own in shown.items()) + " samples")
    tables = calibrated(splits["calibration"], costs, criteria)
    return Content(
        name,
        shown,
        criteria,
        costs,
        cost_unit,
        offered(tables, criteria, chosen),
        class_names,
        facts,
        "" if chosen is None else "the one of the run",
    )


def calibrated(
    records: Records, costs: CostModel, criteria: Sequence[ExitCriterion]
) -> list[pd.DataFrame]:
    """Tables of policies for a range of budgets."""
    if records.exits < 2:
        return []
    return [
        of_method(records, costs, criterion, method, BUDGETS, DELTA)
        for method in METHODS
        for criterion in criteria
    ]
