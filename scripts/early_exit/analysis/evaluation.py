"""Evaluation of the chosen policy on the test split: overall, by exit, class and sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from early_exit.analysis.selection import THRESHOLDS, with_full_network
from early_exit.errors import AGAIN, InputError
from early_exit.policy.agreement import Agreement
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import (
    COLUMN,
    exited_and_right,
    infeasible_row,
    known,
    of_exits_taken,
    per_exit_table,
    policy_of,
    simulate,
)
from early_exit.policy.outcomes import Outcomes
from early_exit.policy.policy import Policy
from early_exit.records.table import Records
from early_exit.statistics.intervals import wilson_interval


def evaluate(
    policy: Policy,
    records: Records,
    run: Outcomes,
    agreement: Agreement | None,
    costs: CostModel,
    measured: Mapping[str, float] | None,
    quartiles: Mapping[str, list[float]] | None = None,
) -> dict[str, Any]:
    """Accuracy with its interval, costs and exit shares of a run, and of the full network.

    Parameters
    ----------
    agreement
        Of the run with the records; ``None`` where the run is simulated from them.
    measured
        Milliseconds per sample of the ``full_network``, the ``policy``, the policy without overhead
        (``ideal``), and the network with ``all_heads``; ``None`` if there is no network to measure.
    quartiles
        Of the same times over the rounds that were timed, and of the ``speedup``.

    Returns
    -------
    dict
        Unknown values are ``None``; predictions never replace measurements. ``speedup`` is
        measured, ``speedup_predicted`` follows from the costs in milliseconds. ``against_full``
        counts the samples that the full network alone classifies correctly (``worse``), and those
        that the policy alone does (``better``).
    """
    times = measured or dict.fromkeys(("full_network", "all_heads", "policy", "ideal"))
    spread = quartiles or {}
    correct, full_correct = run.prediction == records.label, records.correct[:, -1]
    count = int(correct.sum())
    point = of_exits_taken(policy, run.exit, count, costs)
    full = simulate(policy.full_network, records, costs)
    return {
        "samples": point.samples,
        "simulated": measured is None,
        "agreement": agreement and asdict(agreement),
        "full_network": {
            "accuracy": full.accuracy,
            "macs": known(full.macs),
            "ms_per_sample": times["full_network"],
            "ms_per_sample_quartiles": spread.get("full_network"),
            "ms_per_sample_predicted": known(full.ms),
            "ms_per_sample_all_heads": times["all_heads"],
            "ms_per_sample_all_heads_quartiles": spread.get("all_heads"),
            "ms_per_sample_all_heads_predicted": known(costs.all_heads_ms()),
        },
        "selected": {
            "accuracy": point.accuracy,
            "accuracy_interval": list(wilson_interval(count, point.samples)),
            "macs": known(point.macs),
            "ms_per_sample": times["policy"],
            "ms_per_sample_quartiles": spread.get("policy"),
            "ms_per_sample_predicted": known(point.ms),
            "ms_per_sample_ideal": times["ideal"],
            "ms_per_sample_ideal_quartiles": spread.get("ideal"),
            "speedup": times["full_network"] / times["policy"] if measured else None,
            "speedup_quartiles": spread.get("speedup"),
            "speedup_predicted": known(full.ms / point.ms),
            "ms_per_sample_ideal_predicted": known(
                costs.ideal_ms(policy.heads_run, point.exit_shares)
            ),
            "exit_shares": point.exit_shares.tolist(),
            "against_full": {
                "worse": int((full_correct & ~correct).sum()),
                "better": int((correct & ~full_correct).sum()),
            },
        },
    }


def simulated(policy: Policy, records: Records) -> Outcomes:
    """Simulate the outcomes of a run of the policy from the records."""
    uncertainty = policy.criterion.uncertainty(records)
    taken = policy.exits_taken(uncertainty)
    rows = np.arange(len(records))
    prediction = policy.criterion.prediction(records)
    return Outcomes(prediction[rows, taken], taken, uncertainty[rows, taken])


def per_exit(policy: Policy, records: Records, run: Outcomes, costs: CostModel) -> pd.DataFrame:
    """Table of a run by exit; see :func:`~early_exit.policy.operating_point.per_exit_table`."""
    found = exited_and_right(run.exit, run.prediction == records.label, policy.exits)
    return per_exit_table(policy, *found, costs)


def names_of_classes(records: Records, given: Sequence[str] | None) -> dict[int, str]:
    """Names of the classes by number; the numbers themselves if there are no names.

    External records have no classes, so all samples are in one.
    """
    if records.external:
        return {1: "all samples"}
    return dict(enumerate(given or map(str, range(records.classes))))


def per_class(records: Records, run: Outcomes, class_names: Mapping[int, str]) -> pd.DataFrame:
    """Accuracy and mean exit of each class under a policy.

    Parameters
    ----------
    class_names
        From :func:`names_of_classes`.

    Returns
    -------
    pandas.DataFrame
        A row per class: ``class`` (from 0), ``class_name``, ``samples``; the policy's ``accuracy``
        with its 95 % Wilson interval (``accuracy_low``, ``accuracy_high``), the accuracy of the
        ``full_network``, and the ``mean_exit``, from 1. NaN for a class without samples.
    """
    rows = []
    for number, name in class_names.items():
        own = records.label == number
        samples = int(own.sum())
        row = {"class": number, "class_name": name, "samples": samples}
        if samples:
            correct = int((run.prediction[own] == number).sum())
            low, high = wilson_interval(correct, samples)
            row |= {
                "accuracy": correct / samples,
                "accuracy_low": low,
                "accuracy_high": high,
                "full_network": float(records.correct[own, -1].mean()),
                "mean_exit": float(run.exit[own].mean() + 1),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def samples_table(records: Records, run: Outcomes) -> pd.DataFrame:
    """A row per sample: index, label, exit taken (from 1), prediction and uncertainty there."""
    return pd.DataFrame(
        {
            "index": records.index,
            "label": records.label,
            "exit": run.exit + 1,
            "prediction": run.prediction,
            "uncertainty": run.uncertainty,
        }
    )


def points_on_test(
    calibrated: list[pd.DataFrame],
    chosen: Policy,
    records: Records,
    costs: CostModel,
    criteria: Sequence[ExitCriterion] = (),
    calibration: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """Operating points of all calibrated policies and the full network on the test split.

    ``criteria`` are those of the calibrated policies, one for each measure; by default the chosen
    policy's. ``calibration`` is given if the chosen policy is none of the calibrated ones but of
    the user's thresholds: its ``accuracy`` and costs on the calibration split.

    The columns are those of the calibration tables, with values on test, the 95 % Wilson interval
    (``accuracy_low``, ``accuracy_high``), the ``calibration_accuracy`` and ``calibration_cost``
    (MACs, or milliseconds without MACs), and whether the policy is the ``chosen`` one. The row of a
    target that no policy meets has no numbers, and the reason in ``infeasible``.
    """
    full = simulate(chosen.full_network, records, costs)
    candidates = with_full_network(calibrated, full)
    rows = []
    for _, candidate in candidates.iterrows():
        if isinstance(candidate.get("infeasible"), str):
            rows.append(_without_policy(candidate, chosen, len(records)))
            continue
        policy = policy_of(candidate, criteria or [chosen.criterion])
        point = simulate(policy, records, costs)
        low, high = wilson_interval(point.correct, point.samples)
        own = {name: candidate.get(name) for name in ("method", "target_kind", "target")}
        interval = {"accuracy_low": low, "accuracy_high": high}
        before = {
            "calibration_accuracy": candidate.accuracy,
            "calibration_cost": candidate[COLUMN[costs.unit]],
            "chosen": policy == chosen,
        }
        rows.append(own | point.row() | interval | before)
    if calibration is not None:
        rows.insert(0, _of_the_user(chosen, calibration, records, costs))
    return _one_chosen(pd.DataFrame(rows))


def _of_the_user(
    chosen: Policy, calibration: Mapping[str, Any], records: Records, costs: CostModel
) -> dict[str, Any]:
    """The row of a policy of the user's thresholds."""
    point = simulate(chosen, records, costs)
    low, high = wilson_interval(point.correct, point.samples)
    return {
        "method": THRESHOLDS,
        "target_kind": None,
        "target": np.nan,
        **point.row(),
        "accuracy_low": low,
        "accuracy_high": high,
        "calibration_accuracy": calibration["accuracy"],
        "calibration_cost": calibration[COLUMN[costs.unit]],
        "chosen": True,
    }


def _without_policy(candidate: pd.Series, chosen: Policy, samples: int) -> dict[str, Any]:
    """The row of a target that no policy meets."""
    own = {name: candidate.get(name) for name in ("method", "target_kind", "target")}
    names = ("accuracy_low", "accuracy_high", "calibration_accuracy", "calibration_cost")
    unknown = dict.fromkeys(names, np.nan)
    row = infeasible_row(chosen.criterion, chosen.exits, samples, candidate.infeasible)
    why = {"infeasible": row.pop("infeasible")}
    return own | row | unknown | {"chosen": False} | why


def _one_chosen(points: pd.DataFrame) -> pd.DataFrame:
    """Mark one policy as chosen: of equal policies, the first."""
    points["chosen"] &= ~points.chosen.duplicated()
    if not points.chosen.any():
        raise InputError(
            "selection/policy.json: the chosen policy is none of the calibrated ones",
            AGAIN,
        )
    return points
