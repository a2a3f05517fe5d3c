"""Content of ``policy.json``: the chosen policy with its calibration, costs, network and data.

docs/deployment.md explains every key. There is no date: the same input gives the same file, except
for measured times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from early_exit import __version__
from early_exit.policy.costs import CostModel
from early_exit.policy.operating_point import known, simulate
from early_exit.policy.policy import Policy
from early_exit.records.table import Records

# Keys of the timing settings.
MACHINE = (
    *("machine", "processor", "torch", "device", "backend", "precision", "memory_format"),
    "threads",
)
# Keys of the data set's manifest; not all data sets have mean and std.
DATA = ("dataset", "settings", "shape", "class_names", "mean", "std")


def describe(
    chosen: Mapping[str, Any],
    records: Records,
    costs: CostModel,
    machine: Mapping[str, Any],
    network: str | None = None,
    manifest: Mapping[str, Any] | None = None,
    unit: str | None = None,
) -> dict[str, Any]:
    """Content of ``policy.json``, without its provenance.

    Parameters
    ----------
    chosen
        Result of :func:`early_exit.analysis.selection.choose`.
    records
        Records that the policy was calibrated on, with what it needs: of a criterion with
        parameters, those that these were not fitted on.
    costs, machine
        Cost model, and the settings under which its times were measured.
    network, manifest
        Name of the network and manifest of the data set; ``None`` for external records.
    unit
        Unit of the cost that methods minimise for an accuracy or a drop, ``macs`` or ``ms``.

    Returns
    -------
    dict
        Unknown values, such as costs in a missing unit, are ``None``.
    """
    policy = Policy.from_json(chosen["policy"])
    point = simulate(policy, records, costs)
    full = simulate(policy.full_network, records, costs)
    return {
        "version": __version__,
        **chosen,
        "calibration": {
            "samples": point.samples,
            **chosen["calibration"],
            "exit_shares": point.exit_shares.tolist(),
        },
        "full_network": {
            "accuracy": full.accuracy,
            "macs": known(full.macs),
            "ms_per_sample": known(full.ms),
        },
        "network": {
            "name": network,
            "exits": records.exits,
            "classes": None if records.external else records.classes,
        },
        "data": manifest and {key: manifest.get(key) for key in DATA},
        "cost": {
            "macs": [known(cost) for cost in costs.macs(policy.heads_run)],
            "ms_per_sample": [known(cost) for cost in costs.ms(policy.heads_run)],
            "batch_size": costs.batch_size,
            "regroup": costs.regroup,
            "unit": unit,
            **{key: machine.get(key) for key in MACHINE},
        },
    }
