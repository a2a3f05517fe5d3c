"""Reproduction of the published experiment from the records, with its own arithmetic.

The exit rule, weights and thresholds are those of the published code, errors included, so that its
numbers are reproduced to the last digit. Corrected numbers are computed beside them.
``docs/published-experiment.md`` explains the errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from early_exit.calibration.methods.percentile import percentiles
from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.operating_point import accuracy_per_exit
from early_exit.policy.policy import Policy, uniform
from early_exit.policy.samples import Samples
from early_exit.records.table import Records

BATCH = 256
CUTOFF = 0.6
THRESHOLDS_SHOWN_FOR = 0.85


@dataclass(frozen=True)
class Published:
    """Published numbers; accuracies as shares, thresholds in nats."""

    overall: float = 0.5856
    per_exit: tuple[float, ...] = (0.4430, 0.6105, 0.5990, 0.6996, 0.5, 0.9796)
    desired: tuple[tuple[float, float], ...] = (
        (0.60, 0.616),
        (0.65, 0.584),
        (0.70, 0.590),
        (0.75, 0.615),
        (0.80, 0.642),
        (0.85, 0.649),
    )
    # Truncated in print, not rounded.
    thresholds: tuple[float, ...] = (0.072, 0.08, 0.01, 0.01, 0.003, 0.004)


def published_thresholds(calibration: Records, desired: float) -> np.ndarray:
    """Six thresholds in nats for a desired accuracy, by the published arithmetic.

    An exit above the desired accuracy gets 0, so that all samples with positive entropy exit. Any
    other gets ``sorted(entropies)[int(1 - A * n)]``. Multiplication binds first, so the index is
    negative, and the element is one or two samples above the intended percentile.
    """
    index = int(1 - desired * len(calibration))
    elements = np.sort(calibration.uncertainty, axis=0)[index].astype(np.float64)
    return np.where(calibration.correct.mean(axis=0) > desired, 0.0, elements)


def published_accuracies(test: Records, thresholds: np.ndarray) -> tuple[np.ndarray, float]:
    """Accuracy at each exit and overall, by the published arithmetic.

    Samples exit where their entropy is *above* the threshold; the rest exit at the last exit. An
    exit's accuracy is the mean over batches of ``BATCH`` in test order, 0 for a batch in which no
    sample exits. The overall accuracy weights exits by the samples that *reached* them.

    Returns
    -------
    tuple
        Shape (K,) and a float.
    """
    policy = Policy(ExitCriterion("entropy", ExitRule.ABOVE), tuple(thresholds[:-1]))
    taken = policy.exits_taken(test.uncertainty)
    batch = np.arange(len(test)) // BATCH
    batches = batch[-1] + 1
    accuracy, reached = np.zeros(test.exits), np.zeros(test.exits)
    for k in range(test.exits):
        exited = np.bincount(batch[taken == k], minlength=batches)
        correct = np.bincount(batch[(taken == k) & test.correct[:, k]], minlength=batches)
        accuracy[k] = (correct / np.maximum(exited, 1)).mean()
        reached[k] = (taken >= k).sum()
    return accuracy, float(accuracy @ reached / reached.sum())


def reproduce(calibration: Records, test: Records) -> pd.DataFrame:
    """The published numbers, reproduced and corrected, one row each.

    Returns
    -------
    pandas.DataFrame
        Columns ``quantity``, ``published``, ``reproduced`` and ``corrected``. Corrected numbers use
        the rule ``below`` and weight accuracies by the samples that exited; at an infinite
        threshold all samples exit.

    Raises
    ------
    InputError
        If the network has another number of exits than the published one.
    """
    published = Published()
    if test.exits != len(published.per_exit):
        raise InputError(
            f"reproduction: {test.exits} exits, but the published network has"
            f" {len(published.per_exit)}",
            "set it to false",
        )
    rows = _cutoff_rows(published, test)
    rows += _desired_rows(published, calibration, test)
    rows += _threshold_rows(published, calibration)
    return pd.DataFrame(rows, columns=["quantity", "published", "reproduced", "corrected"])


def _cutoff_rows(published: Published, test: Records) -> list[tuple]:
    per_exit, overall = published_accuracies(test, np.full(test.exits, CUTOFF))
    below = uniform(ExitCriterion("entropy", ExitRule.BELOW), CUTOFF, test.exits)
    corrected, _ = accuracy_per_exit(below, test)
    name = f"overall accuracy, cutoff {CUTOFF}"
    rows = [(name, published.overall, overall, overall_accuracy(below, test))]
    for k in range(test.exits):
        name = f"accuracy at exit {k + 1}, cutoff {CUTOFF}"
        rows.append((name, published.per_exit[k], per_exit[k], corrected[k]))
    return rows


def _desired_rows(published: Published, calibration: Records, test: Records) -> list[tuple]:
    rows = []
    for desired, value in published.desired:
        _, reproduced = published_accuracies(test, published_thresholds(calibration, desired))
        corrected = overall_accuracy(corrected_policy(calibration, desired), test)
        rows.append((f"overall accuracy, desired {desired:.2f}", value, reproduced, corrected))
    return rows


def _threshold_rows(published: Published, calibration: Records) -> list[tuple]:
    desired = THRESHOLDS_SHOWN_FOR
    reproduced = published_thresholds(calibration, desired)
    corrected = [*corrected_policy(calibration, desired).thresholds, ExitRule.BELOW.always]
    columns = zip(published.thresholds, reproduced, corrected, strict=True)
    return [
        (f"threshold of exit {k}, desired {desired:.2f}", *values)
        for k, values in enumerate(columns, 1)
    ]


def corrected_policy(calibration: Records, desired: float) -> Policy:
    """Policy of the percentiles for a desired accuracy, under the rule ``below``."""
    return published_policy(calibration, desired, ExitRule.BELOW)


def published_policy(calibration: Records, desired: float, rule: ExitRule) -> Policy:
    """Policy of the percentiles for a desired accuracy."""
    criterion = ExitCriterion("entropy", rule)
    samples = Samples.of(calibration, criterion)
    return Policy(criterion, samples.of_policy(percentiles(samples, desired)))


def overall_accuracy(policy: Policy, records: Records) -> float:
    """Share of samples that are classified correctly where they exit."""
    accuracy, exited = accuracy_per_exit(policy, records)
    return float(np.nansum(accuracy * exited) / exited.sum())
