"""Did the running network do what the records said it would?

The chosen policy is run on the test split, samples leaving the batch, and compared with the
simulation from the records, sample by sample. Both compute in single precision but in batches of
other sizes, so sums may differ in the last digits: a sample whose uncertainty lies within
``TIE`` of a threshold on its way, up to where one of the two let it go, is a tie, and is counted
apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from early_exit.cost_model import CostModel
from early_exit.errors import InputError
from early_exit.operating_point import (
    known,
    left_and_right,
    of_exits_taken,
    per_exit_table,
    policy_of,
    simulate,
)
from early_exit.outcomes import Outcomes
from early_exit.policy import Policy
from early_exit.records import Records
from early_exit.selection import with_whole_network
from early_exit.statistics import wilson_interval

TIE = 1e-5


@dataclass(frozen=True)
class Agreement:
    """How a run compares with the simulation: equal, tied, different; they add up to N."""

    equal: int
    ties: int
    different: int

    @classmethod
    def of(cls, equal: np.ndarray, near: np.ndarray) -> Agreement:
        """Of samples (N,) that are equal, and of which those that are not may be ties if near."""
        return cls(int(equal.sum()), int((~equal & near).sum()), int((~equal & ~near).sum()))


def compare(policy: Policy, records: Records, run: Outcomes, tie: float = TIE) -> Agreement:
    """Count the samples for which the run and the simulation agree in exit and class.

    Raises
    ------
    InputError
        If the run has another number of samples than the records.
    """
    if len(run.exit) != len(records):
        raise InputError(
            f"evaluation: {len(run.exit)} samples run, the records have {len(records)}"
        )
    uncertainty = records.uncertainty(policy.measure, policy.temperatures).astype(np.float64)
    taken = policy.exits_taken(uncertainty)
    rows = np.arange(len(records))
    equal = (run.exit == taken) & (run.prediction == records.prediction[rows, taken])
    return Agreement.of(equal, near_on_the_way(policy, uncertainty, run.exit, taken, tie))


def near_on_the_way(
    policy: Policy, uncertainty: np.ndarray, one: np.ndarray, other: np.ndarray, tie: float = TIE
) -> np.ndarray:
    """Shape (N,), whether a sample was near a threshold until it left, at the exit one or other.

    Behind the earlier of the two nothing can part them any more.
    """
    on_its_way = np.arange(policy.exits - 1) <= np.minimum(one, other)[:, None]
    return (near_threshold(policy, uncertainty, tie) & on_its_way).any(axis=1)


def near_threshold(policy: Policy, uncertainty: np.ndarray, tie: float = TIE) -> np.ndarray:
    """Shape (N, K-1), whether a sample's uncertainty is within ``tie`` of an exit's threshold."""
    return np.abs(uncertainty[:, :-1] - np.asarray(policy.thresholds)) <= tie


def check(agreement: Agreement, records_file: str) -> None:
    """Refuse a run that differs from the simulation in more than ties.

    Raises
    ------
    InputError
        Then records and network do not belong together, or one of them is damaged.
    """
    if agreement.different:
        raise InputError(
            f"{records_file}: {agreement.different} samples of the run differ from the simulation"
            " by more than rounding, so the records are not of this network and data; delete them"
            " and run again"
        )


def evaluate(
    policy: Policy,
    records: Records,
    run: Outcomes,
    agreement: Agreement | None,
    costs: CostModel,
    measured: Mapping[str, float] | None,
) -> dict[str, Any]:
    """What a run gave: accuracy with its interval, costs, shares, and the whole network beside it.

    Parameters
    ----------
    agreement
        Of the run with the records; ``None`` where the run is simulated from them.
    measured
        Milliseconds a sample of the ``static`` network, of the ``policy``, of its ``ideal`` and of
        the network with ``all_heads``; ``None`` where there is no network to measure.

    Returns
    -------
    dict
        What is not known is ``None``; nothing that was not measured stands where it would be.
        ``speedup`` is measured, ``speedup_predicted`` follows from the prices in milliseconds.
    """
    times = measured or dict.fromkeys(("static", "all_heads", "policy", "ideal"))
    correct = int((run.prediction == records.label).sum())
    point = of_exits_taken(policy, run.exit, correct, costs)
    whole = simulate(policy.whole, records, costs)
    return {
        "samples": point.samples,
        "simulated": measured is None,
        "agreement": agreement and asdict(agreement),
        "static": {
            "accuracy": whole.accuracy,
            "macs": known(whole.macs),
            "ms_per_sample": times["static"],
            "ms_per_sample_predicted": known(whole.ms),
            "ms_per_sample_all_heads": times["all_heads"],
        },
        "selected": {
            "accuracy": point.accuracy,
            "accuracy_interval": list(wilson_interval(correct, point.samples)),
            "macs": known(point.macs),
            "ms_per_sample": times["policy"],
            "ms_per_sample_predicted": known(point.ms),
            "ms_per_sample_ideal": times["ideal"],
            "speedup": times["static"] / times["policy"] if measured else None,
            "speedup_predicted": known(whole.ms / point.ms),
            "exit_shares": point.exit_shares.tolist(),
        },
    }


def simulated(policy: Policy, records: Records) -> Outcomes:
    """What a run of the policy would give, by the records."""
    uncertainty = records.uncertainty(policy.measure, policy.temperatures)
    taken = policy.exits_taken(uncertainty)
    rows = np.arange(len(records))
    return Outcomes(records.prediction[rows, taken], taken, uncertainty[rows, taken])


def doubtful_times(result: dict[str, Any], most: float = 1.5) -> str:
    """A warning where a policy's measured time is far from the predicted one; else nothing."""
    selected = result["selected"]
    ratio = selected["ms_per_sample"] / selected["ms_per_sample_predicted"]
    if 1 / most <= ratio <= most:
        return ""
    return (
        f"the chosen policy took {selected['ms_per_sample']:.3g} ms a picture, but"
        f" {selected['ms_per_sample_predicted']:.3g} ms were predicted from the stage prices. The"
        " machine was probably busy at one of the two: delete the experiment's folders cost and"
        " evaluation and run again when it is quiet"
    )


def per_exit(policy: Policy, records: Records, run: Outcomes, costs: CostModel) -> pd.DataFrame:
    """The table of :func:`~early_exit.operating_point.per_exit_table`, of a run."""
    found = left_and_right(run.exit, run.prediction == records.label, policy.exits)
    return per_exit_table(policy, *found, costs)


def names_of_classes(records: Records, given: Sequence[str] | None) -> dict[int, str]:
    """The names of the classes that are told apart, by their numbers.

    Without names they are their numbers. Where the records tell only right from wrong, no classes
    are told apart.
    """
    if records.given:
        return {1: "all samples"}
    return dict(enumerate(given or map(str, range(records.classes))))


def per_class(records: Records, run: Outcomes, class_names: Mapping[int, str]) -> pd.DataFrame:
    """What each class gets out of a policy: a row a class.

    Parameters
    ----------
    class_names
        From :func:`names_of_classes`.

    Returns
    -------
    pandas.DataFrame
        ``class`` (from 0), ``class_name``, ``samples``; the policy's ``accuracy`` on them with its
        95 % Wilson interval (``accuracy_low``, ``accuracy_high``), that of the ``whole_network``,
        and the ``mean_exit`` that they leave at, from 1. Empty where a class has no sample.
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
                "whole_network": float(records.correct[own, -1].mean()),
                "mean_exit": float(run.exit[own].mean() + 1),
            }
        rows.append(row)
    return pd.DataFrame(rows)


def samples_table(records: Records, run: Outcomes) -> pd.DataFrame:
    """A row a sample: index, label, the exit taken (from 1), prediction and uncertainty there."""
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
    calibrated: list[pd.DataFrame], chosen: Policy, records: Records, costs: CostModel
) -> pd.DataFrame:
    """Every calibrated policy, and the whole network, simulated on the test split's records.

    The columns are those of the calibration's tables, measured on test, with the 95 % Wilson
    interval (``accuracy_low``, ``accuracy_high``), the ``calibration_accuracy`` and whether it is
    the ``chosen`` one.
    """
    whole = simulate(chosen.whole, records, costs)
    candidates = with_whole_network(calibrated, whole)
    rows = []
    for _, candidate in candidates.iterrows():
        policy = policy_of(candidate, chosen)
        point = simulate(policy, records, costs)
        low, high = wilson_interval(point.correct, point.samples)
        own = {name: candidate.get(name) for name in ("method", "target_kind", "target")}
        interval = {"accuracy_low": low, "accuracy_high": high}
        before = {"calibration_accuracy": candidate.accuracy, "chosen": policy == chosen}
        rows.append(own | point.row() | interval | before)
    return _one_chosen(pd.DataFrame(rows))


def _one_chosen(points: pd.DataFrame) -> pd.DataFrame:
    """Of policies that coincide, the first counts as the chosen one."""
    points["chosen"] &= ~points.chosen.duplicated()
    if not points.chosen.any():
        raise InputError("evaluation: the chosen policy is none of the calibrated ones; run again")
    return points
