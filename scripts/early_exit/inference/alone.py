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
from early_exit.networks.heads import always_run
from early_exit.structures.tree import Structure, tensors

# Prediction, exit (from 0) and uncertainty.
Answer = tuple[int, int, float]


class InARow:
    """A graph run for one sample after the other, all on the same memory: not in several threads.

    ``more`` are arguments after those of a sample, the same for all.
    """

    def __init__(self, graph: Graph, *more: torch.Tensor) -> None:
        self.graph, self.more = graph, more
        self.memory: list[torch.Tensor] = []

    def __call__(self, inputs: Structure) -> list[torch.Tensor]:
        """Outputs for a batch of one, until the next call."""
        given = tensors(inputs)
        if not self._fits(given):
            # In either mode of torch they may be written to.
            with torch.inference_mode(False):
                self.memory = [torch.empty(one.shape, dtype=one.dtype) for one in given]
            self.run = self.graph.on_memory([*self.memory, *self.more])
        for own, one in zip(self.memory, given, strict=True):
            own.copy_(one)
        return self.run()

    def _fits(self, given: list[torch.Tensor]) -> bool:
        """Whether the memory is of the shapes and types of what is given."""
        return len(given) == len(self.memory) and all(
            own.shape == one.shape and own.dtype == one.dtype
            for own, one in zip(self.memory, given, strict=True)
        )


class Alone:
    """Runs a policy on one sample at a time; not in several threads."""

    def __init__(self, graph: Graph, policy: Decisions) -> None:
        self.graph, self.policy = graph, policy
        self.run = InARow(graph, torch.tensor(policy.thresholds))

    def __call__(self, inputs: Structure) -> Answer:
        """The answer for a batch of one."""
        prediction, taken, unsure = self.run(inputs)
        return prediction.item(), taken.item(), unsure.item()

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


def whole(network: MultiExitNetwork) -> InARow | None:
    """What runs all stages and the final head on one sample at a time, and returns logits first.

    ``None`` where they are no one graph.
    """
    if not isinstance(network, GraphNetwork) or always_run(network):
        return None
    own = network.segment(0, len(network.stages) - 1, in_a_row=True)
    return None if own is None else InARow(own.graph)


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
    return network.load(
        "the graph of a sample on its own", model.SerializeToString(), in_a_row=True
    )
