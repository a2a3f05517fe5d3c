"""Recalibration: thresholds of a chosen policy found anew on new records, after drift.

With labels, by the policy's own method for its own target, with its measure and temperatures.
Without, so that exit shares stay as they were (:mod:`early_exit.calibration.shares`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from early_exit.calibration.calibrate import find
from early_exit.calibration.shares import keep_shares
from early_exit.calibration.targets import Target, label, out_of_reach
from early_exit.errors import InputError
from early_exit.policy.costs import CostModel
from early_exit.policy.description import describe
from early_exit.policy.operating_point import OperatingPoint, simulate
from early_exit.policy.policy import Policy
from early_exit.policy.samples import Samples
from early_exit.records.table import UNKNOWN, Records

# With fewer samples, a share of one half has a standard error of more than five points.
LEAST_SAMPLES = 100
# Of a method with certificates whose policy has none.
DELTA = 0.1
LABELS, SHARES = "labels", "exit shares"
# In the provenance of the new policy, and of the records that it was found on.
SPLIT = "recalibration"


@dataclass(frozen=True)
class Recalibrated:
    """A policy whose thresholds were found anew.

    Attributes
    ----------
    by
        ``labels`` or ``exit shares``.
    before, policy
        The policy with its old thresholds, and with the new ones.
    records
        The new records that found them: the labelled ones, or all.
    certificate
        Of the new thresholds: ``loss``, ``bound``, ``delta``, ``samples`` and p-values; ``None`` if
        the method gives none, nothing could be certified, or there are no labels.
    """

    by: str
    before: Policy
    policy: Policy
    records: Records
    certificate: dict[str, Any] | None = None

    def point(self, policy: Policy, costs: CostModel) -> OperatingPoint:
        """Operating point of ``policy`` on the new records; without labels none is correct."""
        return simulate(policy, self.records, costs)


def recalibrate(
    content: Mapping[str, Any], records: Records, costs: CostModel, labels: bool | None = None
) -> Recalibrated:
    """Find the thresholds of a policy anew.

    Parameters
    ----------
    content
        Content of the policy's ``policy.json``.
    records
        The new records; labels may be unknown in part, and unlabelled samples are left out if any
        label is used.
    costs
        The costs that the policy was chosen with.
    labels
        Whether to use labels; by default, if there are any.

    Raises
    ------
    InputError
        If the policy is the full network, or has no target and labels are used; if there are fewer
        than ``LEAST_SAMPLES`` samples; or if no policy meets the budget.
    """
    known = records.label != UNKNOWN
    if labels is None:
        labels = bool(known.any())
    if labels:
        records = records.select(np.flatnonzero(known))
    policy = Policy.from_json(content["policy"])
    _check_there_is_a_choice(content, policy, labels)
    if len(records) < LEAST_SAMPLES:
        what = "samples with labels" if labels else "samples"
        raise InputError(
            f"records: {len(records)} {what}, but at least {LEAST_SAMPLES} are needed",
            "label more, or keep the exit shares, without labels"
            if labels and len(known) >= LEAST_SAMPLES
            else "record more",
        )
    if labels:
        return Recalibrated(LABELS, policy, *relabelled(content, records, costs))
    uncertainty = policy.criterion.uncertainty(records)
    kept = keep_shares(policy, shares_to_keep(content), uncertainty)
    return Recalibrated(SHARES, policy, kept, records)


def _check_there_is_a_choice(content: Mapping[str, Any], policy: Policy, labels: bool) -> None:
    if any(policy.heads_run[:-1]):
        if labels and content.get("target") is None:
            raise InputError(
                f"policy: was found by {content.get('method')} for no target, so there is nothing"
                " to calibrate it for",
                "keep the exit shares, without labels",
            )
    elif content.get("target") is None:
        raise InputError(
            "policy: is the full network, which has no thresholds and no target",
            "choose a policy by running the workflow on the new data",
        )
    elif not labels:
        raise InputError(
            "policy: no sample exits early under it, so there are no exit shares to keep",
            "give records with labels",
        )


def relabelled(
    content: Mapping[str, Any], records: Records, costs: CostModel
) -> tuple[Policy, Records, dict[str, Any] | None]:
    """Thresholds by the method and for the target of a ``policy.json``, on labelled records.

    Returns
    -------
    tuple
        The policy, the records, and the certificate or ``None``.

    Raises
    ------
    InputError
        If no policy meets the budget, or the method takes no budget.
    """
    policy, unit = Policy.from_json(content["policy"]), unit_of(content, costs)
    target = Target(content["target_kind"], float(content["target"]), delta_of(content))
    # Parameters of the criterion were not fitted to the new records.
    samples = replace(Samples.of(records, policy.criterion), fitted=False)
    found = find(content["method"], samples, costs, [target], unit)
    if not found:
        raise InputError(
            f"policy: {content['method']} takes an accuracy or a drop, not {target.kind}"
        )
    ((_, turned, given),) = found
    if turned is None:
        reason = out_of_reach(target, costs.in_unit(target.unit(unit)))
        raise InputError(f"policy: {reason}", "keep the exit shares, without labels")
    certificate = {key.removeprefix("certified_"): value for key, value in given.items()}
    issued = certificate.get("p_value") is not None
    anew = Policy(policy.criterion, samples.of_policy(turned))
    return anew, records, certificate if issued else None


def shares_to_keep(content: Mapping[str, Any]) -> list[float]:
    """Exit shares of the calibration split; recalibrated again, still those of the first."""
    kept = (content.get("recalibrated") or {}).get("shares_kept")
    return kept or content["calibration"]["exit_shares"]


def delta_of(content: Mapping[str, Any]) -> float:
    """Delta of the policy's certificate, also of one that an earlier recalibration has lost."""
    certificate = content.get("certificate") or {}
    return certificate.get("delta") or (content.get("recalibrated") or {}).get("delta") or DELTA


def unit_of(content: Mapping[str, Any], costs: CostModel) -> str:
    """Unit of the cost that is minimised; MACs, if there are any, for files before 0.3."""
    return content["cost"].get("unit") or costs.weighed_in("macs")


def described(
    content: Mapping[str, Any], found: Recalibrated, costs: CostModel, notes: Mapping[str, Any]
) -> dict[str, Any]:
    """Content of the new ``policy.json``.

    Parameters
    ----------
    content
        Content of the old one, whose network, data, method and target are kept.
    notes
        What the new thresholds were found from, for the key ``recalibrated``.
    """
    labelled = found.by == LABELS
    point = found.point(found.policy, costs)
    why = (
        f"thresholds found anew by {content['method']} for"
        f" {label(content['target_kind'], content['target'])} on {point.samples} new samples with"
        " labels"
        if labelled
        else f"thresholds that keep the exit shares of calibration on {point.samples} new samples"
    )
    own = describe(
        {
            **{key: content.get(key) for key in ("method", "target_kind", "target", "criterion")},
            "policy": found.policy.to_json(),
            "certificate": found.certificate,
            "why": why,
            "optimism": None,
            "calibration": {
                "accuracy": point.accuracy,
                **{n: v if np.isfinite(v) else None for n, v in _costs_of(point).items()},
            },
        },
        found.records,
        costs,
        content["cost"],
        content["network"]["name"],
        content["data"],
        content["cost"].get("unit"),
    )
    if not labelled:
        own["calibration"]["accuracy"] = own["full_network"]["accuracy"] = None
    origin = {
        "by": found.by,
        **notes,
        "samples": point.samples,
        "thresholds_before": found.before.to_json()["thresholds"],
        "shares_kept": None if labelled else shares_to_keep(content),
        "delta": delta_of(content),
    }
    identity = content["identity"] | {"split": SPLIT}
    return own | {"recalibrated": origin, "identity": identity}


def _costs_of(point: OperatingPoint) -> dict[str, float]:
    return {"macs": point.macs, "ms_per_sample": point.ms}
