"""Optimism of a choice: how much more accurate the chosen policy looks than it is.

The best of many policies on a sample is partly the luckiest. The bootstrap tells how much (Efron
and Tibshirani 1993, An Introduction to the Bootstrap, section 17.6): samples are drawn again with
replacement, the policy is chosen on what was drawn, and its accuracy there is compared with that on
the samples themselves. Thresholds are not searched again, so this is the optimism of the choice
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from early_exit.analysis.selection import Criterion, added_up, select
from early_exit.errors import InputError
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import feasible, of_counts, policy_of
from early_exit.records.table import Records

DRAWS = 50
SEED = 0
# Less is not worth words.
LEAST = 0.00005
# A random subset of larger splits; their optimism is smaller still.
MOST_SAMPLES = 50_000


def optimism(
    candidates: pd.DataFrame,
    criterion: Criterion,
    records: Records,
    costs: CostModel,
    criteria: Sequence[ExitCriterion] = (),
) -> float | None:
    """Mean accuracy of the chosen candidate where it is chosen, minus that on all ``records``.

    Parameters
    ----------
    candidates
        As of :func:`early_exit.analysis.selection.choose`.
    records
        The calibration split.
    criteria
        The exit criteria of the candidates, one for each measure.

    Returns
    -------
    float or None
        A share of samples; ``None`` if no candidate meets the criterion in any draw.
    """
    random = np.random.default_rng(SEED)
    if len(records) > MOST_SAMPLES:
        records = records.select(np.sort(random.choice(len(records), MOST_SAMPLES, replace=False)))
    possible = feasible(candidates).reset_index(drop=True)
    policies = [policy_of(row, criteria) for _, row in possible.iterrows()]
    taken = np.stack(
        [policy.exits_taken(policy.criterion.uncertainty(records)) for policy in policies]
    )
    rows = np.arange(len(records))
    correct = np.stack(
        [
            policy.criterion.correct(records)[rows, exits]
            for policy, exits in zip(policies, taken, strict=True)
        ]
    )
    accuracy = correct.mean(axis=1)
    found: list[float] = []
    for _ in range(DRAWS):
        drawn = random.multinomial(len(records), np.full(len(records), 1 / len(records)))
        points = [
            of_counts(policy, np.bincount(exits, drawn, policy.exits), right @ drawn, costs).row()
            for policy, exits, right in zip(policies, taken, correct, strict=True)
        ]
        measured = ["samples", "correct", "accuracy", "macs", "ms_per_sample"]
        own = possible.assign(**pd.DataFrame(points)[measured])
        try:
            chosen, _ = select(added_up(own, criterion), criterion)
        except InputError:
            continue
        found.append(chosen.accuracy - accuracy[chosen.name])
    return float(np.mean(found)) if found else None


def in_words(optimism: float | None) -> str:
    """The optimism as an addition to the reason of a choice."""
    # Where there is hardly a choice, what is left is chance.
    if optimism is None or optimism < LEAST:
        return ""
    return (
        f"; by being chosen it looks {100 * optimism:.2f} points more accurate than it is"
        " (bootstrap)"
    )


def with_optimism(chosen: dict[str, Any], optimism: float | None) -> dict[str, Any]:
    """The content of ``policy.json`` with the optimism, also in its reason."""
    return chosen | {"why": chosen["why"] + in_words(optimism), "optimism": optimism}
