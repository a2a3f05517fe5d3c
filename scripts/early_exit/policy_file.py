"""What ``policy.json`` says: the chosen policy, and all that is needed to understand it in a year.

Every key is explained in docs/deployment.md. There is no date in it: the same input gives the same
file, times aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from early_exit import __version__
from early_exit.cost_model import CostModel
from early_exit.operating_point import known, simulate
from early_exit.policy import Policy
from early_exit.records import Records

# What is kept of the settings under which times were taken.
MACHINE = ("machine", "processor", "torch", "device", "precision", "memory_format", "threads")
# What is kept of the data set's manifest. Not every data set has a mean and a deviation.
DATA = ("dataset", "settings", "shape", "class_names", "mean", "std")


def describe(
    chosen: Mapping[str, Any],
    records: Records,
    costs: CostModel,
    machine: Mapping[str, Any],
    network: str | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of ``policy.json``, its identity aside.

    Parameters
    ----------
    chosen
        What :func:`early_exit.selection.choose` gave.
    records
        Of the calibration split, as the policy needs them.
    costs, machine
        The prices, and under which settings their times were taken.
    network, manifest
        The network's name and the data set; ``None`` where only records are known.

    Returns
    -------
    dict
        What is not known is ``None``, a price in a unit without prices too.
    """
    policy = Policy.from_json(chosen["policy"])
    point = simulate(policy, records, costs)
    whole = simulate(policy.whole, records, costs)
    return {
        "version": __version__,
        **chosen,
        "calibration": {
            "samples": point.samples,
            **chosen["calibration"],
            "exit_shares": point.exit_shares.tolist(),
        },
        "whole_network": {
            "accuracy": whole.accuracy,
            "macs": known(whole.macs),
            "ms_per_sample": known(whole.ms),
        },
        "network": {
            "name": network,
            "exits": records.exits,
            "classes": None if records.given else records.classes,
        },
        "data": manifest and {key: manifest.get(key) for key in DATA},
        "cost": {
            "macs": [known(price) for price in costs.macs(policy)],
            "ms_per_sample": [known(price) for price in costs.ms(policy)],
            "batch_size": costs.batch_size,
            "regroup": costs.regroup,
            **{key: machine.get(key) for key in MACHINE},
        },
    }
