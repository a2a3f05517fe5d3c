"""Simulation of drift: accuracy and cost on corrupted images, before and after recalibration.

Each set of corrupted images is cut at random into two halves: thresholds are found anew on one and
measured on the other, many times. Ways to find thresholds:

``old``
    Those of the chosen policy.
``shares_kept``
    Quantiles that keep the exit shares of calibration
    (:func:`early_exit.calibration.shares.keep_shares`); no labels.
``tracked``
    The same on a stream (:class:`early_exit.calibration.shares.QuantileTracker`), which begins with
    the chosen policy and is stopped before the other half; no labels.
``relabelled``
    Found anew by the policy's method for its target, on a number of labelled images. If no policy
    is as accurate as the target asks, no image exits early.
``relabelled_budget``
    The same, but for the policy's mean cost on calibration as a budget; not by methods that take no
    budget, nor if the target is a budget already.
``full_network``
    No image exits early.

Nothing is chosen by the results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from early_exit.calibration.calibrate import takes
from early_exit.calibration.recalibrate import relabelled, shares_to_keep
from early_exit.calibration.shares import LEAST, WINDOW, QuantileTracker, keep_shares
from early_exit.calibration.targets import QUALITIES
from early_exit.policy.costs import CostModel
from early_exit.policy.operating_point import COLUMN, OperatingPoint, simulate
from early_exit.policy.policy import Policy
from early_exit.records.table import Records

OLD, KEPT, TRACKED, FULL = "old", "shares_kept", "tracked", "full_network"
BY_LABELS = RELABELLED, BUDGET = "relabelled", "relabelled_budget"
WAYS = (OLD, KEPT, TRACKED, *BY_LABELS, FULL)
# Images that a service takes in at a time.
BATCH = 32
# The kind of images as they are.
CLEAN = "none"
# Corruptions, by kind and strength from 1.
Corrupted = Mapping[tuple[str, int], Records]


def simulate_drift(
    content: dict[str, Any],
    clean: Records,
    corrupted: Corrupted,
    costs: CostModel,
    labels: Sequence[int],
    draws: int,
) -> pd.DataFrame:
    """Measure the chosen policy, and what becomes of it by recalibration, under drift.

    Parameters
    ----------
    content
        Content of ``policy.json``.
    clean, corrupted
        Labelled records of the same N images, as they are and corrupted.
    labels
        Numbers of labelled images to recalibrate on, besides all of a half; those that a half
        lacks are left out. A policy without a target is not recalibrated by labels.
    draws
        Number of random cuts into halves, the same for all corruptions.

    Returns
    -------
    pandas.DataFrame
        A row per ``kind`` (``none`` for images as they are), ``strength`` (from 1; 0), ``way`` and
        number of ``labels`` (0 for ways without); the number of ``samples`` measured in each of the
        ``draws``; means over the draws of ``accuracy``, ``macs``, ``ms_per_sample``, ``cost_share``
        of the full network (in MACs, or in time without them) and the share exiting at each exit,
        ``share_1`` ...; and the standard deviations ``accuracy_sd`` and ``cost_share_sd``.
    """
    rows = []
    for (kind, strength), records in ({(CLEAN, 0): clean} | dict(corrupted)).items():
        found: dict[tuple[str, int], list[OperatingPoint]] = {}
        for draw in range(draws):
            order = np.random.default_rng(draw).permutation(len(records))
            given, measured = (records.select(half) for half in np.array_split(order, 2))
            for way, count, policy in _policies(content, given, costs, labels):
                found.setdefault((way, count), []).append(simulate(policy, measured, costs))
        rows += [
            {"kind": kind, "strength": strength, "way": way, "labels": count, **_means(own, costs)}
            for (way, count), own in found.items()
        ]
    return pd.DataFrame(rows)


def _policies(
    content: dict[str, Any], given: Records, costs: CostModel, labels: Sequence[int]
) -> Iterator[tuple[str, int, Policy]]:
    """Each way with its number of labels and its policy, from the samples ``given`` to it."""
    policy, shares = Policy.from_json(content["policy"]), shares_to_keep(content)
    uncertainty = policy.criterion.uncertainty(given)
    yield OLD, 0, policy
    yield KEPT, 0, keep_shares(policy, shares, uncertainty)
    window = min(WINDOW, len(given))
    tracker = QuantileTracker(policy, shares, window, min(LEAST, window))
    for start in range(0, len(given), BATCH):
        tracker.update(uncertainty[start : start + BATCH])
    yield TRACKED, 0, tracker.policy
    for way, target in _targets(content, costs).items():
        for count in [*(n for n in sorted(labels) if n < len(given)), len(given)]:
            yield way, count, relabelled(content | target, given.select(slice(count)), costs)[0]
    yield FULL, 0, policy.full_network


def _targets(content: Mapping[str, Any], costs: CostModel) -> dict[str, dict[str, Any]]:
    """Targets for which labels find thresholds, as keys of ``policy.json``, by way."""
    if content.get("target") is None:
        return {}
    found: dict[str, dict[str, Any]] = {RELABELLED: {}}
    if content["target_kind"] in QUALITIES and takes(content["method"], costs.unit):
        cost = content["calibration"][COLUMN[costs.unit]]
        found[BUDGET] = {"target_kind": costs.unit, "target": cost}
    return found


def _means(points: Sequence[OperatingPoint], costs: CostModel) -> dict[str, float]:
    """Means and standard deviations over draws."""
    full = costs.in_unit(costs.unit).full_network
    accuracy = [point.accuracy for point in points]
    share = [(point.macs if costs.unit == "macs" else point.ms) / full for point in points]
    exits = np.mean([point.exit_shares for point in points], axis=0)
    return {
        "samples": points[0].samples,
        "draws": len(points),
        "accuracy": np.mean(accuracy),
        "accuracy_sd": np.std(accuracy),
        "macs": np.mean([point.macs for point in points]),
        "ms_per_sample": np.mean([point.ms for point in points]),
        "cost_share": np.mean(share),
        "cost_share_sd": np.std(share),
        **{f"share_{k}": share for k, share in enumerate(exits, 1)},
    }
