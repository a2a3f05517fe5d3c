"""The main results of an experiment in one dictionary."""

from __future__ import annotations

from typing import Any

from early_exit.analysis.doubts import doubts
from early_exit.records.table import Records


def summarise(
    experiment: str,
    network: str | None,
    manifest: dict[str, Any],
    calibration: Records,
    test: Records,
    chosen: dict[str, Any],
    evaluation: dict[str, Any],
) -> dict[str, Any]:
    """The content of ``summary.json``.

    ``full_network`` runs the final head only. ``per_exit_accuracy`` is that of each exit on all
    test samples. ``agreement`` counts the samples for which the run and its simulation from the
    records are equal, tied at a threshold, changed by the precision, or different. ``timing`` says
    how times were measured, ``doubt`` is a warning about times or accuracies
    (:mod:`early_exit.analysis.doubts`), ``remarks`` are warnings about external records.

    Accuracies are shares of the test split, ``macs`` multiply-accumulates per sample (in a unit of
    the user's if ``cost_unit`` is ``relative``), times milliseconds per sample, measured unless
    named predicted. Thresholds are in the unit of the measure, or ``"never"`` and ``"always"``.

    An experiment on external records has no network: its results are ``simulated``, and measured
    values are ``None``, as are costs in unknown units.
    """
    policy, run = chosen["policy"], evaluation["selected"]
    return {
        "experiment": experiment,
        "dataset": manifest["dataset"],
        "network": network,
        "classes": manifest["classes"],
        "exits": test.exits,
        "samples": {"calibration": len(calibration), "test": len(test)},
        "simulated": evaluation["simulated"],
        "cost_unit": manifest.get("cost_unit", "macs"),
        "per_exit_accuracy": test.correct.mean(axis=0).tolist(),
        "full_network": evaluation["full_network"],
        "selected": {
            "method": chosen["method"],
            "target_kind": chosen["target_kind"],
            "target": chosen["target"],
            "certificate": chosen["certificate"],
            "exit_rule": policy["exit_rule"],
            "measure": policy["measure"],
            "thresholds": policy["thresholds"],
            "temperatures": policy["temperatures"],
            "accuracy": run["accuracy"],
            "accuracy_interval": run["accuracy_interval"],
            "macs": run["macs"],
            "ms_per_sample": run["ms_per_sample"],
            "ms_per_sample_predicted": run["ms_per_sample_predicted"],
            "speedup": run["speedup"],
            "speedup_quartiles": run["speedup_quartiles"],
            "speedup_predicted": run["speedup_predicted"],
            "exit_shares": run["exit_shares"],
            "why": chosen["why"],
        },
        "agreement": evaluation["agreement"],
        "timing": evaluation["timing"],
        "doubt": "; ".join(doubts(chosen, evaluation, calibration, test)) or None,
        "remarks": manifest.get("remarks", []),
    }
