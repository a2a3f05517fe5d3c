"""The published experiment, recomputed from the records with its own arithmetic.

Its rule, its weights and its thresholds are those of the published code, faults included, so that
its figures come out to the last digit; the corrected ones stand beside them. What is wrong with the
published arithmetic is told in ``docs/published-experiment.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from early_exit.calibration.percentile import percentiles
from early_exit.errors import InputError
from early_exit.operating_point import accuracy_where_left
from early_exit.policy import ExitRule, Policy, uniform, whole_network
from early_exit.records import Records
from early_exit.samples import Samples

BATCH = 256
CUTOFF = 0.6
THRESHOLDS_SHOWN_FOR = 0.85


@dataclass(frozen=True)
class Published:
    """The figures as published; accuracies as shares, thresholds in nats."""

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
    # Printed cut off, not rounded.
    thresholds: tuple[float, ...] = (0.072, 0.08, 0.01, 0.01, 0.003, 0.004)


def published_thresholds(calibration: Records, desired: float) -> np.ndarray:
    """Six thresholds in nats for a desired accuracy, by the published arithmetic.

    An exit above the desired accuracy gets 0, so that everybody with any entropy leaves. Any other
    gets ``sorted(entropies)[int(1 - A * n)]``: multiplication binds first, so the index is negative
    and the element lies a sample or two above the percentile that was meant.
    """
    index = int(1 - desired * len(calibration))
    elements = np.sort(calibration.entropy, axis=0)[index].astype(np.float64)
    return np.where(calibration.correct.mean(axis=0) > desired, 0.0, elements)


def published_accuracies(test: Records, thresholds: np.ndarray) -> tuple[np.ndarray, float]:
    """Accuracy at each exit and overall, by the published arithmetic.

    Samples leave where their entropy is *above* the threshold, the last exit takes the rest. An
    exit's accuracy is the mean over batches of ``BATCH`` in test order, 0 for a batch in which
    nobody left. The overall accuracy weights it by the samples that *reached* the exit.

    Returns
    -------
    tuple
        Shape (K,) and a float.
    """
    policy = Policy("entropy", ExitRule.ABOVE, tuple(thresholds[:-1]))
    taken = policy.exits_taken(test.entropy)
    batch = np.arange(len(test)) // BATCH
    batches = batch[-1] + 1
    accuracy, reached = np.zeros(test.exits), np.zeros(test.exits)
    for k in range(test.exits):
        left = np.bincount(batch[taken == k], minlength=batches)
        right = np.bincount(batch[(taken == k) & test.correct[:, k]], minlength=batches)
        accuracy[k] = (right / np.maximum(left, 1)).mean()
        reached[k] = (taken >= k).sum()
    return accuracy, float(accuracy @ reached / reached.sum())


def replicate(calibration: Records, test: Records) -> pd.DataFrame:
    """The published figures, reproduced and corrected, a row each.

    Returns
    -------
    pandas.DataFrame
        Columns ``quantity``, ``published``, ``reproduced`` and ``corrected``. Corrected means the
        rule ``below``, accuracies weighted by the samples that left; infinity means that everybody
        leaves.

    Raises
    ------
    InputError
        If the network has not the published one's exits.
    """
    published = Published()
    if test.exits != len(published.per_exit):
        raise InputError(
            f"replication: {test.exits} exits, but the published network has"
            f" {len(published.per_exit)}; set it to false"
        )
    rows = _cutoff_rows(published, test)
    rows += _desired_rows(published, calibration, test)
    rows += _threshold_rows(published, calibration)
    return pd.DataFrame(rows, columns=["quantity", "published", "reproduced", "corrected"])


def _cutoff_rows(published: Published, test: Records) -> list[tuple]:
    per_exit, overall = published_accuracies(test, np.full(test.exits, CUTOFF))
    below = uniform("entropy", ExitRule.BELOW, CUTOFF, test.exits)
    corrected, _ = accuracy_where_left(below, test)
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
    """The percentiles for a desired accuracy under the rule ``below``."""
    return published_policy(calibration, desired, ExitRule.BELOW)


def published_policy(calibration: Records, desired: float, rule: ExitRule) -> Policy:
    """The percentiles for a desired accuracy."""
    sees = whole_network("entropy", rule, calibration.exits)
    samples = Samples.of(calibration, sees)
    return sees.at(samples.of_policy(percentiles(samples, desired)))


def overall_accuracy(policy: Policy, records: Records) -> float:
    """The share of samples that are right where they leave."""
    accuracy, left = accuracy_where_left(policy, records)
    return float(np.nansum(accuracy * left) / left.sum())
