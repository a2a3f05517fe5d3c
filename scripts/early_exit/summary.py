"""An experiment's headline figures in one dictionary."""

from __future__ import annotations

from typing import Any

from early_exit.records import Records


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

    ``static`` is the whole network, its last head only; ``per_exit_accuracy`` is each exit's on
    the whole test split; ``agreement`` counts the pictures for which the run and the simulation
    from the records are equal, tied at a threshold, or different; ``timing`` says how times were
    taken, and ``doubt`` why they should not be trusted, if so. An experiment of records has no
    network: what it states is ``simulated``, and what only a run could tell is ``None``, and so is
    a cost in a unit that there are no prices in.
    Accuracies are shares of the test split, ``macs`` multiply-accumulates a sample, times
    milliseconds a sample, measured unless they say that they are predicted; thresholds are in the
    unit of the measure, or ``"never"`` and ``"always"``.
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
            "speedup_predicted": run["speedup_predicted"],
            "exit_shares": run["exit_shares"],
            "why": chosen["why"],
        },
        "agreement": evaluation["agreement"],
        "timing": evaluation["timing"],
        "doubt": evaluation.get("doubt"),
    }
