"""Methods compared on many splits of the same records: which finds good thresholds, and how surely.

The records of the calibration and the test split, on neither of which the network was trained, are
pooled and cut anew many times. Every method finds thresholds on one part and is measured on the
other. No network runs. Nothing that the workflow chooses depends on it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from early_exit.calibration import find
from early_exit.cost_model import CostModel
from early_exit.errors import InputError
from early_exit.policy import Policy
from early_exit.records import COLUMNS, Records
from early_exit.samples import Samples
from early_exit.targets import Target, evaluate
from early_exit.temperature import fit

YARDSTICK = "exact_grid"
BASELINE = "uniform"
# Between these shares of the splits lies what is called the interval.
INTERVAL = (0.025, 0.975)


def pool(first: Records, second: Records) -> Records:
    """The samples of both, in this order."""
    pairs = ((name, getattr(first, name), getattr(second, name)) for name in COLUMNS)
    joined = {name: np.concatenate(pair) for name, *pair in pairs if pair[0] is not None}
    return replace(first, **joined)


def asked(settings: Sequence[Any], delta: float, costs: CostModel) -> list[Target]:
    """The study's targets; shares of the MACs are shares of the time where that is all there is."""
    targets = [Target.parse(setting, delta) for setting in settings]
    share = f"{costs.unit}_share"
    return [replace(t, kind=share) if t.kind == "macs_share" else t for t in targets]


def splits(samples: int, calibration: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``count`` ways to cut ``samples`` in two, ``calibration`` of them in the first part.

    Raises
    ------
    InputError
        If nothing is left to measure on.
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
    sees: Policy,
    scaled: bool,
    methods: Sequence[str],
    targets: Sequence[Target],
    calibration: int,
    count: int,
) -> pd.DataFrame:
    """Each method on each split.

    Parameters
    ----------
    records
        The pool; with logits where the measure or temperatures need them.
    sees
        The policy whose measure and rule are used.
    scaled
        Whether to fit temperatures on each calibration part.

    Returns
    -------
    pandas.DataFrame
        A row for each split, method and target: ``accuracy`` and ``cost`` (share of the whole
        network's MACs; of its time, where prices are in that alone) on the part that was measured
        on, the same on the calibration part, whether the target was ``missed`` there, and
        ``seconds`` for one method's targets on one split.

    Raises
    ------
    InputError
        If there is one exit only, or nothing would be left to measure on.
    """
    if records.exits < 2:
        raise InputError("study: a network with one exit has no thresholds to compare")
    rows = []
    cuts = splits(len(records), calibration, count)
    for number, (here, there) in enumerate(tqdm(cuts, "study", count, disable=None)):
        chosen_on = records.select(here)
        seen = replace(sees, temperatures=tuple(fit(chosen_on))) if scaled else sees
        samples = Samples.of(chosen_on, seen)
        others = Samples.of(records.select(there), seen)
        for method in methods:
            start = time.perf_counter()
            found = find(method, samples, costs, targets, costs.unit)
            seconds = time.perf_counter() - start
            for target, thresholds, _ in found:
                point = _measured(thresholds, target, samples, others, costs)
                rows.append({"split": number, "method": method, **point, "seconds": seconds})
    return pd.DataFrame(rows)


def _measured(
    thresholds: np.ndarray, target: Target, samples: Samples, others: Samples, costs: CostModel
) -> dict[str, float | str | bool]:
    prices = costs.prices(costs.unit)
    here, there = (evaluate(part, prices, thresholds) for part in (samples, others))
    accuracy, cost = there.correct[0] / len(others), there.cost[0]
    if target.is_quality:
        missed = there.correct[0] < target.least_correct(others)
    else:
        own = costs.prices(target.unit(costs.unit))
        missed = evaluate(others, own, thresholds).cost[0] > target.most_cost(own) * (1 + 1e-9)
    return {
        "target_kind": target.kind,
        "target": target.value,
        "accuracy": accuracy,
        "cost": cost / prices.whole,
        "calibration_accuracy": here.correct[0] / len(samples),
        "calibration_cost": here.cost[0] / prices.whole,
        "missed": bool(missed),
    }


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """The study in one table.

    Parameters
    ----------
    runs
        Tables of :func:`compare`, one below the other, with ``measure`` and ``scaled``.

    Returns
    -------
    pandas.DataFrame
        A row for each measure, scaling, method and target: mean ``accuracy`` and ``cost`` over the
        splits with ``accuracy_low`` and ``accuracy_high``, between which 95 % of the splits lie;
        ``against_uniform``, the mean difference in accuracy to the uniform threshold on the same
        split and measure, with its interval; ``optimality_gap``, the mean calibration accuracy of
        the exact grid less the method's; ``test_gap``, calibration less test accuracy; ``missed``,
        the share of splits in which the target was missed; and median ``seconds``.
    """
    keys = ["measure", "scaled", "target_kind", "target"]
    runs = runs.join(_of(runs, keys, BASELINE, "accuracy"), on=[*keys, "split"])
    runs = runs.join(_of(runs, keys, YARDSTICK, "calibration_accuracy"), on=[*keys, "split"])
    runs = runs.assign(
        against_uniform=runs.accuracy - runs[f"accuracy_of_{BASELINE}"],
        optimality_gap=runs[f"calibration_accuracy_of_{YARDSTICK}"] - runs.calibration_accuracy,
        test_gap=runs.calibration_accuracy - runs.accuracy,
    )
    rows = []
    for key, group in runs.groupby([*keys, "method"], sort=False):
        low, high = group.accuracy.quantile(INTERVAL)
        worst, best = group.against_uniform.quantile(INTERVAL)
        means = group[
            ["accuracy", "cost", "against_uniform", "optimality_gap", "test_gap", "missed"]
        ].mean()
        rows.append(
            {
                **dict(zip([*keys, "method"], key, strict=True)),
                "splits": len(group),
                **means,
                "accuracy_low": low,
                "accuracy_high": high,
                "against_uniform_low": worst,
                "against_uniform_high": best,
                "seconds": group.seconds.median(),
            }
        )
    return pd.DataFrame(rows)


def _of(runs: pd.DataFrame, keys: list[str], method: str, column: str) -> pd.Series:
    """A method's column, by split."""
    own = runs[runs.method == method].set_index([*keys, "split"])[column]
    return own.rename(f"{column}_of_{method}")
