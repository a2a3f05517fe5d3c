"""An experiment's headline figures in one dictionary."""

from __future__ import annotations

from typing import Any

from early_exit.records import Records


def summarise(
    experiment: str,
    network: str,
    manifest: dict[str, Any],
    calibration: Records,
    test: Records,
    chosen: dict[str, Any],
    evaluation: dict[str, Any],
) -> dict[str, Any]:
    """The content of ``summary.json``.

    ``static`` is the whole network, its last head only; ``per_exit_accuracy`` is each exit's on
    the whole test split; ``agreement`` counts the pictures for which the run and the simulation
    from the records are equal, tied at a threshold, or different; ``timing`` says how times were
    taken.
    Accuracies are shares of the test split, ``macs`` multiply-accumulates a sample, times
    milliseconds a sample, measured; thresholds are in the unit of the measure, or ``"never"`` and
    ``"always"``.
    """
    policy, run = chosen["policy"], evaluation["selected"]
    return {
        "experiment": experiment,
        "dataset": manifest["dataset"],
        "network": network,
        "classes": test.classes,
        "exits": test.exits,
        "samples": {"calibration": len(calibration), "test": len(test)},
        "per_exit_accuracy": test.correct.mean(axis=0).tolist(),
        "static": evaluation["static"],
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
            "exit_shares": run["exit_shares"],
            "why": chosen["why"],
        },
        "agreement": evaluation["agreement"],
        "timing": evaluation["timing"],
    }
