"""The network of a policy, ready to run as the command line says."""

from __future__ import annotations

import argparse
from typing import Any

import torch

from early_exit import networks
from early_exit.cli.experiment import Experiment
from early_exit.engine import Engine, scaling
from early_exit.origin import check_same_origin


def load(
    experiment: Experiment, manifest: dict[str, Any], options: argparse.Namespace
) -> tuple[networks.MultiExitNetwork, Engine]:
    """The network and the engine; torch's threads are set.

    Raises
    ------
    InputError
        If network, data and policy do not belong together, or the device is not there.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    file = experiment.network_file()
    network, identity = networks.load(file)
    check_same_origin(experiment.origin, (str(file), {"data": identity["data"]}))
    return network, Engine(options.device, **scaling(manifest))
