"""Comparison of calibration methods on many random splits of the same records.

The records of the calibration and test splits, on neither of which the network was trained, are
pooled and split anew many times. Each method finds thresholds on one part and is measured on the
other. No network runs, and nothing that the workflow chooses depends on the study.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from early_exit.calibration.calibrate import find
from early_exit.calibration.criteria import fit as fit_criterion
from early_exit.calibration.targets import QUALITIES, Target, evaluate, out_of_reach
from early_exit.calibration.temperature import fit
from early_exit.errors import InputError
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.samples import Samples
from early_exit.records.table import Records, joined

YARDSTICK = "exact_grid"
BASELINE = "uniform"
# Quantiles over the splits that bound the intervals.
INTERVAL = (0.025, 0.975)
# Columns that the summary has the mean of.
MEANS = ["accuracy", "cost", "against_uniform", "against_first", "optimality_gap", "test_gap"]
MEANS += ["missed"]


def pool(first: Records, second: Records) -> Records:
    """The samples of both records, in this order."""
    return joined([first, second])


def asked(settings: Sequence[Any], delta: float, costs: CostModel) -> list[Target]:
    """The study's targets; shares of MACs become shares of time if costs have no MACs."""
    targets = [Target.parse(setting, delta) for setting in settings]
    share = f"{costs.unit}_share"
    return [replace(t, kind=share) if t.kind == "macs_share" else t for t in targets]


def splits(samples: int, calibration: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random splits of ``samples`` into two parts, with ``calibration`` samples in the first.

    Raises
    ------
    InputError
        If no sample is left to measure on.
    """
    if not 0 < calibration < samples:
        raise InputError(
            f"study.calibration: {calibration} of {samples} samples; at least one must be left to"
            " measure on"
        )
    for number in range(count):
        shuffled = np.random.default_rng(number).permutation(samples)
        yield shuffled[:calibration], shuffled[calibration:]


def compare(
    records: Records,
    costs: CostModel,
    criterion: ExitCriterion,
    scaled: bool,
    methods: Sequence[str],
    targets: Sequence[Target],
    calibration: int,
    count: int,
) -> pd.DataFrame:
    """Calibrate and measure each method on each split.

    Parameters
    ----------
    records
        Pooled records, with logits if the measure or temperatures need them.
    criterion
        Measure and exit rule.
    scaled
        Whether to fit temperatures on each calibration part. Parameters of the criterion always
        are.

    Returns
    -------
    pandas.DataFrame
        A row for each split, method and target: ``accuracy`` and ``cost`` (share of the full
        network's MACs, or of its time if costs have no MACs) on the held-out part, the same on the
        calibration part, whether the target is ``missed`` on the held-out part, and ``seconds`` for
        all targets of the method on the split. A target that no policy meets has no row.

    Raises
    ------
    InputError
        If there is only one exit, no sample is left to measure on, or no policy meets any target.
    """
    if records.exits < 2:
        raise InputError("study: a network with one exit has no thresholds to compare")
    if criterion.uses_earlier:
        costs = costs.with_all_heads()
    rows = []
    cuts = splits(len(records), calibration, count)
    for number, (here, there) in enumerate(tqdm(cuts, "study", count, disable=None)):
        part = records.select(here)
        temperatures = tuple(fit(part)) if scaled else criterion.temperatures
        own = fit_criterion(part, replace(criterion, temperatures=temperatures))
        samples = Samples.of(part, own)
        others = Samples.of(records.select(there), own)
        for method in methods:
            start = time.perf_counter()
            found = find(method, samples, costs, targets, costs.unit)
            seconds = time.perf_counter() - start
            for target, thresholds, _ in found:
                if thresholds is None:
                    continue
                point = _measured(thresholds, target, samples, others, costs)
                rows.append({"split": number, "method": method, **point, "seconds": seconds})
    if not rows:
        why = out_of_reach(targets[-1], costs.in_unit(targets[-1].unit(costs.unit)))
        raise InputError(f"study.targets: {why}, and no target is in reach", "raise the budgets")
    return pd.DataFrame(rows)


def unreached(runs: pd.DataFrame, targets: Sequence[Target]) -> list[Target]:
    """The targets without a row in the table of :func:`compare`, since no policy meets them."""
    found = set(zip(runs.target_kind, runs.target, strict=True))
    return [target for target in targets if (target.kind, target.value) not in found]


def _measured(
    thresholds: np.ndarray, target: Target, samples: Samples, others: Samples, costs: CostModel
) -> dict[str, float | str | bool]:
    unit_costs = costs.in_unit(costs.unit)
    here, there = (evaluate(part, unit_costs, thresholds) for part in (samples, others))
    accuracy, cost = there.correct[0] / len(others), there.cost[0]
    if target.is_quality:
        missed = there.correct[0] < target.least_correct(others)
    else:
        own = costs.in_unit(target.unit(costs.unit))
        missed = evaluate(others, own, thresholds).cost[0] > target.most_cost(own) * (1 + 1e-9)
    return {
        "target_kind": target.kind,
        "target": target.value,
        "accuracy": accuracy,
        "cost": cost / unit_costs.full_network,
        "calibration_accuracy": here.correct[0] / len(samples),
        "calibration_cost": here.cost[0] / unit_costs.full_network,
        "missed": bool(missed),
    }


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """Summarise the study over the splits.

    Parameters
    ----------
    runs
        Concatenated tables of :func:`compare`, with ``measure`` and ``scaled``.

    Returns
    -------
    pandas.DataFrame
        A row for each measure, scaling, method and target: mean ``accuracy`` and ``cost`` over the
        splits, with ``accuracy_low`` and ``accuracy_high``, which bound 95 % of the splits;
        ``against_uniform``, the mean accuracy minus that of the uniform threshold on the same split
        and measure, with its interval; ``against_first``, the same against the study's first
        measure, without temperatures, by the same method; ``optimality_gap``, the mean calibration
        accuracy of the exact grid minus the method's (NaN without the grid; for budgets, of the
        best method, since the grid is coarse with many exits); ``test_gap``, calibration minus
        test accuracy; ``missed``, the share of splits in which the target is missed; and median
        ``seconds``.
    """
    keys = ["measure", "scaled", "target_kind", "target"]
    runs = runs.join(_of(runs, keys, BASELINE, "accuracy"), on=[*keys, "split"])
    runs = runs.join(_of(runs, keys, YARDSTICK, "calibration_accuracy"), on=[*keys, "split"])
    first = runs[(runs.measure == runs.measure.iloc[0]) & ~runs.scaled.astype(bool)]
    same = ["method", "target_kind", "target", "split"]
    runs = runs.join(first.set_index(same).accuracy.rename("accuracy_of_first"), on=same)
    best = runs.groupby([*keys, "split"]).calibration_accuracy.transform("max")
    own = runs[f"calibration_accuracy_of_{YARDSTICK}"]
    runs = runs.assign(
        against_uniform=runs.accuracy - runs[f"accuracy_of_{BASELINE}"],
        against_first=runs.accuracy - runs.accuracy_of_first,
        optimality_gap=own.where(runs.target_kind.isin(QUALITIES), best)
        - runs.calibration_accuracy,
        test_gap=runs.calibration_accuracy - runs.accuracy,
    )
    rows = []
    for key, group in runs.groupby([*keys, "method"], sort=False):
        low, high = group.accuracy.quantile(INTERVAL)
        worst, best = group.against_uniform.quantile(INTERVAL)
        behind, ahead = group.against_first.quantile(INTERVAL)
        means = group[MEANS].mean()
        rows.append(
            {
                **dict(zip([*keys, "method"], key, strict=True)),
                "splits": len(group),
                **means,
                "accuracy_low": low,
                "accuracy_high": high,
                "against_uniform_low": worst,
                "against_uniform_high": best,
                "against_first_low": behind,
                "against_first_high": ahead,
                "seconds": group.seconds.median(),
            }
        )
    return pd.DataFrame(rows)


def _of(runs: pd.DataFrame, keys: list[str], method: str, column: str) -> pd.Series:
    """One column of one method, by split."""
    own = runs[runs.method == method].set_index([*keys, "split"])[column]
    return own.rename(f"{column}_of_{method}")
