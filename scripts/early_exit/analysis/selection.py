"""Selection of one policy among the calibrated ones, from calibration data alone.

``ratio``
    The highest accuracy per millisecond, the published criterion. It has no accuracy floor, so it
    favours policies under which all samples exit at once.
``fastest``
    The fastest policy whose lower confidence bound on accuracy reaches a floor. Without the bound,
    the cheapest policy that just meets the floor on calibration misses it on about half of all new
    test sets. The bound is that of a single policy: choosing among many makes it optimistic.
``most_accurate``
    The most accurate policy within a latency budget.
``certified``
    The fastest policy with a certificate of the required bound.
``thresholds``
    Thresholds of the user, taken as they are (:mod:`early_exit.analysis.own_thresholds`).

When one of several certificates is chosen, its failure probability is the sum of theirs
(Bonferroni).

Without costs in milliseconds, MACs replace them, except for a latency budget.

The full network is always a candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import OperatingPoint, feasible, policy_of
from early_exit.policy.units import NAMES, RELATIVE, size_of
from early_exit.statistics.intervals import wilson_lower_bound

FULL_NETWORK = "full_network"
# Criterion, and method, of thresholds that the user gives.
THRESHOLDS = "thresholds"
# The fields that each criterion uses.
USED = {
    "ratio": ("name",),
    "fastest": ("name", "accuracy_floor", "confidence"),
    "most_accurate": ("name", "latency_budget_ms"),
    "certified": ("name", "certified_loss", "certified_bound"),
    THRESHOLDS: ("name", "thresholds"),
}


@dataclass(frozen=True)
class Criterion:
    """A selection criterion with its limits.

    Attributes
    ----------
    name
        ``ratio``, ``fastest``, ``most_accurate``, ``certified`` or ``thresholds``.
    accuracy_floor
        Minimum accuracy for ``fastest``, between 0 and 1.
    latency_budget_ms
        Maximum milliseconds per sample for ``most_accurate``.
    confidence
        Confidence of the lower bound that must reach the floor; ``None`` uses the measured
        accuracy.
    certified_loss, certified_bound
        Loss for ``certified``, ``drop`` or ``error``, and its maximum bound.
    thresholds
        Thresholds for ``thresholds``, which is not chosen by :func:`select`.
    unit
        Unit of the costs called MACs, ``macs`` or ``relative``.
    """

    name: str
    accuracy_floor: float | None = None
    latency_budget_ms: float | None = None
    confidence: float | None = None
    certified_loss: str = "drop"
    certified_bound: float | None = None
    thresholds: Sequence[float | str] | None = None
    unit: str = "macs"


def with_full_network(calibrated: list[pd.DataFrame], full: OperatingPoint) -> pd.DataFrame:
    """All candidates in one table; the full network is last and has no target."""
    own = pd.DataFrame([{"method": FULL_NETWORK, **full.row()}])
    return pd.concat([*calibrated, own], ignore_index=True)


def choose(
    candidates: pd.DataFrame,
    criterion: Criterion,
    criteria: Sequence[ExitCriterion] = (),
) -> dict[str, Any]:
    """The chosen policy, its calibration results and the reason: the content of ``policy.json``.

    Parameters
    ----------
    criteria
        The exit criteria of the candidates, one for each measure.
    """
    candidates = reachable(candidates)
    row, reason = select(added_up(candidates, criterion), criterion)
    columns = ("accuracy", "macs", "ms_per_sample")
    return {
        "policy": policy_of(row, criteria).to_json(),
        "method": str(row["method"]),
        "target_kind": _known(row.get("target_kind")),
        "target": _known(row.get("target")),
        "certificate": certificate_of(row),
        "why": f"{reason}, of {len(candidates)} candidates on {int(row['samples'])} samples",
        "criterion": {k: v for k, v in asdict(criterion).items() if k in USED[criterion.name]},
        "calibration": {name: _known(row[name]) for name in columns},
    }


def reachable(candidates: pd.DataFrame) -> pd.DataFrame:
    """The candidates, without the targets that no policy meets.

    Raises
    ------
    InputError
        If no policy meets any target.
    """
    found = feasible(candidates)
    if len(found) < len(candidates) and (found.method == FULL_NETWORK).all():
        least = candidates.infeasible.dropna().iloc[-1]
        raise InputError(
            f"calibration.targets: {least}, and no target is in reach", "raise the budgets"
        )
    return found


def added_up(candidates: pd.DataFrame, criterion: Criterion) -> pd.DataFrame:
    """The candidates, with the sum of all eligible certificates' deltas (Bonferroni)."""
    if "certified_delta" not in candidates:
        return candidates
    eligible = candidates.certified_delta.notna()
    if criterion.name == "certified":
        eligible &= _promised(candidates, criterion)
    return candidates.assign(certified_delta=candidates.certified_delta[eligible].sum())


def _promised(candidates: pd.DataFrame, criterion: Criterion) -> pd.Series:
    """Whether each row's certificate, if issued, is of the required loss and bound."""
    same = candidates.certified_loss == criterion.certified_loss
    return same & (candidates.certified_bound <= criterion.certified_bound + 1e-12)


def select(candidates: pd.DataFrame, criterion: Criterion) -> tuple[pd.Series, str]:
    """The chosen candidate, and the reason in words.

    Parameters
    ----------
    candidates
        Rows with ``method``, ``target``, thresholds, ``accuracy``, ``correct``, ``samples``,
        ``macs`` and ``ms_per_sample``, all measured on the calibration split.

    Raises
    ------
    InputError
        If no candidate meets the limit; the message names the nearest.
    """
    criteria = {
        "ratio": _ratio,
        "fastest": _fastest,
        "most_accurate": _most_accurate,
        "certified": _certified,
    }
    return criteria[criterion.name](candidates, criterion)


def _ratio(candidates: pd.DataFrame, criterion: Criterion) -> tuple[pd.Series, str]:
    cost, unit, _ = _cost(candidates, criterion.unit)
    ratio = candidates.accuracy / cost
    chosen = candidates.loc[ratio.idxmax()]
    return chosen, f"highest accuracy per {unit}, {ratio.max():.3g}"


def _cost(candidates: pd.DataFrame, unit: str) -> tuple[pd.Series, str, str]:
    """Cost per sample of the candidates, its unit in words, and a name for the cheapest.

    Milliseconds; or MACs, scaled by their magnitude, without costs in milliseconds.
    """
    if candidates.ms_per_sample.notna().all():
        return candidates.ms_per_sample, "millisecond", "fastest policy"
    if unit == RELATIVE:
        return candidates.macs, "unit of cost", "cheapest policy"
    size = size_of(candidates.macs.max())
    words = f"{NAMES[size]} MACs" if NAMES[size] else "MAC"
    return candidates.macs / size, words, "policy with the fewest MACs"


def _least(candidates: pd.DataFrame, unit: str) -> tuple[pd.Series, str]:
    """The cheapest candidate, and its name."""
    cost, _, word = _cost(candidates, unit)
    return candidates.assign(cost=cost).sort_values(["cost", "macs"]).iloc[0], word


def _fastest(candidates: pd.DataFrame, criterion: Criterion) -> tuple[pd.Series, str]:
    floor = criterion.accuracy_floor
    if criterion.confidence is None:
        bound, certainty = candidates.accuracy, ""
    else:
        bound = pd.Series(
            [
                wilson_lower_bound(row.correct, row.samples, criterion.confidence)
                for row in candidates.itertuples()
            ],
            index=candidates.index,
        )
        certainty = f" (lower bound of confidence {criterion.confidence:g})"
    allowed = candidates[bound >= floor]
    if allowed.empty:
        raise InputError(
            f"selection.accuracy_floor: no policy is at least {floor:g} accurate{certainty} on the"
            f" calibration split; the best is {bound.max():.4f} (measured"
            f" {candidates.accuracy[bound.idxmax()]:.4f})",
            "lower the floor, or set confidence to null to use the measured accuracy",
        )
    chosen, word = _least(allowed, criterion.unit)
    return chosen, f"{word} that is at least {floor:g} accurate{certainty}"


def _most_accurate(candidates: pd.DataFrame, criterion: Criterion) -> tuple[pd.Series, str]:
    budget = criterion.latency_budget_ms
    if candidates.ms_per_sample.isna().any():
        raise InputError(
            "selection.latency_budget_ms: there are no costs in ms",
            "add a column ms to the cost table (records.costs), or choose by another criterion",
        )
    allowed = candidates[candidates.ms_per_sample <= budget]
    if allowed.empty:
        raise InputError(
            f"selection.latency_budget_ms: no policy takes at most {budget:g} ms per sample; the"
            f" fastest takes {candidates.ms_per_sample.min():.4g} ms",
            "raise the budget",
        )
    order = ["accuracy", "ms_per_sample"]
    chosen = allowed.sort_values(order, ascending=[False, True]).iloc[0]
    return chosen, f"most accurate policy within {budget:g} ms per sample"


def _certified(candidates: pd.DataFrame, criterion: Criterion) -> tuple[pd.Series, str]:
    loss, most = criterion.certified_loss, criterion.certified_bound
    if "certified_p_value" in candidates:
        allowed = candidates[
            candidates.certified_p_value.notna() & _promised(candidates, criterion)
        ]
    else:
        allowed = candidates[:0]
    if allowed.empty:
        raise InputError(
            f"selection.criterion: no policy has a certificate that its {loss} is at most {most:g}",
            "put certified or certified_path into calibration.methods and the bound into"
            " calibration.targets, or use more calibration samples",
        )
    chosen, word = _least(allowed, criterion.unit)
    if chosen.certified_delta >= 1:
        raise InputError(
            "selection.criterion: the deltas of the eligible certificates add up to"
            f" {chosen.certified_delta:g}, so the chosen one guarantees nothing",
            "use fewer calibration.targets or methods, or lower calibration.delta",
        )
    return chosen, (
        f"{word} with a certificate that its {loss} is at most {chosen.certified_bound:g} (issued"
        f" and false with probability {chosen.certified_delta:g} at most)"
    )


def certificate_of(row: pd.Series) -> dict[str, Any] | None:
    """The certificate of a candidate, or ``None``."""
    prefix = "certified_"
    if pd.isna(row.get("certified_p_value", np.nan)) or row["certified_delta"] >= 1:
        return None
    return {k.removeprefix(prefix): _known(v) for k, v in row.items() if k.startswith(prefix)}


def _known(value: Any) -> Any:
    """The value of a cell for JSON; ``None`` if it is empty."""
    if value is None or pd.isna(value):
        return None
    return value if isinstance(value, str) else float(value)
