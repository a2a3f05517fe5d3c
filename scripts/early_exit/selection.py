"""Choosing one policy among the calibrated ones, by calibration data alone.

``ratio``
    The highest accuracy per millisecond: the published criterion. It has no floor, so it rewards
    leaving at once.
``fastest``
    The fastest policy whose accuracy is at least a floor, by the lower confidence bound of its
    accuracy: the cheapest policy that just meets a floor on calibration misses it on new samples
    about every second time. The bound is that of one policy; of the many that were fitted to these
    samples the one that was luckiest is taken, so new samples keep the floor less often than the
    confidence says.
``most_accurate``
    The most accurate policy within a latency budget.
``certified``
    The fastest policy with a certificate that promises enough.

Of several certificates that one is chosen from, any may be the wrong one: each has its own
probability of that, and the chosen one has their sum.

Where there are no prices in milliseconds, MACs stand for them; not for a latency budget.

The whole network, nobody leaving early, is always among the candidates.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from early_exit.errors import InputError
from early_exit.operating_point import OperatingPoint, policy_of
from early_exit.policy import Policy
from early_exit.statistics import wilson_lower_bound

WHOLE_NETWORK = "whole_network"
# The fields that each criterion looks at.
USED = {
    "ratio": ("name",),
    "fastest": ("name", "accuracy_floor", "confidence"),
    "most_accurate": ("name", "latency_budget_ms"),
    "certified": ("name", "certified_loss", "certified_bound"),
}


@dataclass(frozen=True)
class Criterion:
    """How to choose: the criterion's name and its limits.

    Attributes
    ----------
    name
        ``ratio``, ``fastest``, ``most_accurate`` or ``certified``.
    accuracy_floor
        Least accuracy for ``fastest``, between 0 and 1.
    latency_budget_ms
        Most milliseconds a sample for ``most_accurate``.
    confidence
        Of the lower bound that must reach the floor; ``None`` trusts the measured accuracy.
    certified_loss, certified_bound
        What ``certified`` wants a promise about, ``drop`` or ``error``, and the largest that may be
        promised.
    """

    name: str
    accuracy_floor: float | None = None
    latency_budget_ms: float | None = None
    confidence: float | None = None
    certified_loss: str = "drop"
    certified_bound: float | None = None


def with_whole_network(calibrated: list[pd.DataFrame], whole: OperatingPoint) -> pd.DataFrame:
    """All candidates in one table, the whole network last, without a target."""
    own = pd.DataFrame([{"method": WHOLE_NETWORK, **whole.row()}])
    return pd.concat([*calibrated, own], ignore_index=True)


def choose(candidates: pd.DataFrame, criterion: Criterion, sees: Policy) -> dict[str, Any]:
    """The chosen policy, what it gives on the calibration split, and why: for ``policy.json``.

    Parameters
    ----------
    sees
        The policy whose temperatures the candidates were found with.
    """
    row, reason = select(added_up(candidates, criterion), criterion)
    columns = ("accuracy", "macs", "ms_per_sample")
    return {
        "policy": policy_of(row, sees).to_json(),
        "method": str(row["method"]),
        "target_kind": _known(row.get("target_kind")),
        "target": _known(row.get("target")),
        "certificate": certificate_of(row),
        "why": f"{reason}, of {len(candidates)} candidates on {int(row['samples'])} samples",
        "criterion": {k: v for k, v in asdict(criterion).items() if k in USED[criterion.name]},
        "calibration": {name: _known(row[name]) for name in columns},
    }


def added_up(candidates: pd.DataFrame, criterion: Criterion) -> pd.DataFrame:
    """The candidates, each certificate with the deltas of all that could be chosen (Bonferroni)."""
    if "certified_delta" not in candidates:
        return candidates
    eligible = candidates.certified_delta.notna()
    if criterion.name == "certified":
        eligible &= _promised(candidates, criterion)
    return candidates.assign(certified_delta=candidates.certified_delta[eligible].sum())


def _promised(candidates: pd.DataFrame, criterion: Criterion) -> pd.Series:
    """Whether a row's certificate, if it was given, is of what is wanted."""
    same = candidates.certified_loss == criterion.certified_loss
    return same & (candidates.certified_bound <= criterion.certified_bound + 1e-12)


def select(candidates: pd.DataFrame, criterion: Criterion) -> tuple[pd.Series, str]:
    """The chosen candidate, and the reason in a sentence.

    Parameters
    ----------
    candidates
        Rows with ``method``, ``target``, thresholds, ``accuracy``, ``correct``, ``samples``,
        ``macs`` and ``ms_per_sample``, all measured on the calibration split.

    Raises
    ------
    InputError
        If no candidate keeps to the limit, naming the nearest.
    """
    criteria = {
        "ratio": _ratio,
        "fastest": _fastest,
        "most_accurate": _most_accurate,
        "certified": _certified,
    }
    return criteria[criterion.name](candidates, criterion)


def _ratio(candidates: pd.DataFrame, criterion: Criterion) -> tuple[pd.Series, str]:
    cost, unit, _ = _cost(candidates)
    ratio = candidates.accuracy / cost
    chosen = candidates.loc[ratio.idxmax()]
    return chosen, f"highest accuracy per {unit}, {ratio.max():.3g}"


def _cost(candidates: pd.DataFrame) -> tuple[pd.Series, str, str]:
    """What the candidates cost a sample, in what, and what the one that costs least is called.

    Milliseconds, or million MACs where there are no prices in milliseconds.
    """
    if candidates.ms_per_sample.notna().all():
        return candidates.ms_per_sample, "millisecond", "fastest"
    return candidates.macs / 1e6, "million MACs", "cheapest in MACs"


def _least(candidates: pd.DataFrame) -> tuple[pd.Series, str]:
    """The candidate that costs least, and what it is called."""
    cost, _, word = _cost(candidates)
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
        certainty = f" by the lower bound of confidence {criterion.confidence:g}"
    allowed = candidates[bound >= floor]
    if allowed.empty:
        raise InputError(
            f"selection.accuracy_floor: no policy is at least {floor:g} accurate{certainty} on the"
            f" calibration split; the best is {bound.max():.4f} (measured"
            f" {candidates.accuracy[bound.idxmax()]:.4f}): lower the floor, or"
            " set confidence to null to trust what is measured"
        )
    chosen, word = _least(allowed)
    return chosen, f"{word} that is at least {floor:g} accurate{certainty}"


def _most_accurate(candidates: pd.DataFrame, criterion: Criterion) -> tuple[pd.Series, str]:
    budget = criterion.latency_budget_ms
    if candidates.ms_per_sample.isna().any():
        raise InputError(
            "selection.latency_budget_ms: there are no prices in ms; add a column ms to the cost"
            " table (records.costs), or choose by another criterion"
        )
    allowed = candidates[candidates.ms_per_sample <= budget]
    if allowed.empty:
        raise InputError(
            f"selection.latency_budget_ms: no policy takes at most {budget:g} ms a sample; the"
            f" fastest takes {candidates.ms_per_sample.min():.4g} ms: raise the budget"
        )
    order = ["accuracy", "ms_per_sample"]
    chosen = allowed.sort_values(order, ascending=[False, True]).iloc[0]
    return chosen, f"most accurate within {budget:g} ms a sample"


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
            f"selection.criterion: no policy has a certificate that its {loss} is at most {most:g};"
            " put certified or certified_path into calibration.methods and the bound into"
            " calibration.targets, or give them more calibration samples"
        )
    chosen, word = _least(allowed)
    sure = 1 - chosen.certified_delta
    if sure <= 0:
        raise InputError(
            f"selection.criterion: the deltas add up to {chosen.certified_delta:g} for the"
            " certificates that it chooses from, so nothing is promised; ask for fewer"
            " calibration.targets or methods, or lower calibration.delta"
        )
    promise = f"a {loss} of at most {chosen.certified_bound:g} with probability {sure:g}"
    return chosen, f"{word} that promises {promise}"


def certificate_of(row: pd.Series) -> dict[str, Any] | None:
    """What a candidate promises, or ``None``."""
    prefix = "certified_"
    if pd.isna(row.get("certified_p_value", np.nan)) or row["certified_delta"] >= 1:
        return None
    return {k.removeprefix(prefix): _known(v) for k, v in row.items() if k.startswith(prefix)}


def _known(value: Any) -> Any:
    """A cell for JSON: ``None`` where it is empty."""
    if value is None or pd.isna(value):
        return None
    return value if isinstance(value, str) else float(value)
