"""A sample on its own, through one graph with an ``If`` at each exit, where a runtime has graphs.

For one sample the calls between stages take as long as a small stage; here there is one call.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from early_exit.errors import InputError
from early_exit.inference.backends.network import CascadeHead, Graph, GraphNetwork
from early_exit.inference.decisions import MEASURES, Decisions
from early_exit.networks import MultiExitNetwork
from early_exit.structures.tree import Structure, tensors

# Prediction, exit (from 0) and uncertainty, shape (1,) each.
Answer = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Alone:
    """Runs a policy on one sample at a time."""

    def __init__(self, graph: Graph, policy: Decisions) -> None:
        self.graph, self.policy = graph, policy
        self.thresholds = torch.tensor(policy.thresholds)

    def __call__(self, inputs: Structure) -> Answer:
        """The answer for a batch of one."""
        prediction, taken, unsure = self.graph([*tensors(inputs), self.thresholds])
        return prediction, taken, unsure

    def passes(self) -> dict[int, Callable[[Structure], Answer]]:
        """For each exit that decides, from 0, what runs a sample up to it and no further."""
        found, early = {}, len(self.policy.thresholds)
        for k in (k for k, run in enumerate(self.policy.runs) if run):
            thresholds = (self.policy.never,) * k + (self.policy.always,) * (early - k)
            found[k] = Alone(self.graph, self.policy._replace(thresholds=thresholds))
        return found


def alone(network: MultiExitNetwork, policy: Decisions) -> Alone | None:
    """What runs a policy on one sample at a time; ``None`` where there is no such graph.

    A graph is made once for all policies that differ in their thresholds alone.
    """
    if not isinstance(network, GraphNetwork) or not network.decides:
        return None
    # Without a decision there is nothing to save.
    if policy.measure not in MEASURES or not any(policy.runs[:-1]):
        return None
    key = policy._replace(thresholds=())
    if key not in network.singles:
        network.singles[key] = _graph(network, policy)
    graph = network.singles[key]
    return None if graph is None else Alone(graph, policy)


def _graph(network: GraphNetwork, policy: Decisions) -> Graph | None:
    # Here, since it needs the package onnx: without it, samples run from graph to graph.
    try:
        from early_exit.inference.single import Parts, single_graph
    except ModuleNotFoundError:
        return None
    stages, heads = network.files
    is_cascade = any(isinstance(head, CascadeHead) for head in network.heads)
    *names, thresholds = [f"input_{number}" for number in range(1, network.inputs + 2)]
    try:
        parts = Parts(stages, heads, is_cascade)
        model = single_graph(policy, parts, None, names, thresholds)
    except InputError:
        # A cascade, or parts that are no one graph.
        return None
    return network.load("the graph of a sample on its own", model.SerializeToString())
