"""The network of a policy, with the engine for the command line's options."""

from __future__ import annotations

import argparse
from typing import Any

import torch

from early_exit.cli.experiment import Experiment
from early_exit.config.runtimes import check_pair
from early_exit.inference.engine import Engine, scaling
from early_exit.io.provenance import check_same_provenance
from early_exit.networks import MultiExitNetwork
from early_exit.networks.checkpoint import load_network
from early_exit.structures.inputs import InputSpec


def load(
    experiment: Experiment, manifest: dict[str, Any], options: argparse.Namespace
) -> tuple[MultiExitNetwork, Engine]:
    """The network and the engine; sets torch's number of threads.

    Raises
    ------
    InputError
        If network, data and policy do not belong together, if the network is code that the command
        line does not trust, or if the device is not available.
    """
    if options.threads:
        torch.set_num_threads(options.threads)
    file = experiment.network_file()
    network, provenance = load_network(file, options.trust_code)
    check_same_provenance(experiment.origin, (str(file), {"data": provenance["data"]}))
    engine = _engine(experiment, manifest, options)
    return engine.ready(network), engine


def _engine(
    experiment: Experiment, manifest: dict[str, Any], options: argparse.Namespace
) -> Engine:
    """The engine that the policy was found for, on the device of the options."""
    backend, precision, *checksum = experiment.engine.split(":")
    check_pair(backend, precision, options.device, "policy")
    if backend == "torch":
        return Engine(options.device, precision, **scaling(manifest))
    graphs = experiment.graphs_file(precision, checksum[0])
    # Only here: it takes the packages of the extra `runtime`.
    from early_exit.inference.backends.engine import GraphEngine

    own = {"graphs": graphs, "spec": InputSpec.read(manifest), "threads": torch.get_num_threads()}
    return GraphEngine(options.device, precision, backend=backend, **own, **scaling(manifest))
