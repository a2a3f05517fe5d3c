"""A network whose stages and heads are graphs that a runtime runs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from early_exit.inference.backends.tensors import as_exported
from early_exit.inference.decisions import MEASURES, Decisions
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import Output, always_run, output, takes_earlier
from early_exit.structures.inputs import InputSpec
from early_exit.structures.tree import Structure, flatten, map_tensors, tensors, unflatten


class Graph(Protocol):
    """A runtime's graph."""

    def __call__(self, given: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The tensors of what a part returns, for those of its arguments, in order."""

    def on_memory(self, given: Sequence[torch.Tensor]) -> Callable[[], list[torch.Tensor]]:
        """A call on what these tensors hold by then, which returns the same tensors each time."""


# Makes a graph: its name, for messages, and the content of an ONNX file.
Load = Callable[..., Graph]


class GraphStage(nn.Module):
    """A stage run as a graph; ``returned`` is what the stage itself returned for some samples."""

    def __init__(self, graph: Graph, returned: Structure) -> None:
        super().__init__()
        self.graph = graph
        self.leaves, self.spec = flatten(returned)
        self.plain = isinstance(returned, torch.Tensor)
        self.count = len(tensors(returned))

    def forward(self, features: Structure) -> Structure:
        """What the stage hands on."""
        return self.structure(self.graph(tensors(features)))

    def structure(self, found: list[torch.Tensor]) -> Structure:
        """What the stage hands on, of its tensors."""
        if self.plain:
            return found[0]
        own = iter(found)
        leaves = [next(own) if isinstance(leaf, torch.Tensor) else leaf for leaf in self.leaves]
        return unflatten(leaves, self.spec)


class GraphHead(nn.Module):
    """A head run as a graph."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, features: Structure) -> Any:
        """Logits, with a confidence if the head returns one."""
        return _one_or_two(self.graph(tensors(features)))


class CascadeHead(GraphHead):
    """A head that takes the logits of earlier exits, too."""

    def forward(self, features: Structure, earlier: Sequence[torch.Tensor]) -> Any:
        """Logits, with a confidence if the head returns one."""
        return _one_or_two(self.graph([*tensors(features), *earlier]))


class Measured(NamedTuple):
    """What a graph returns in place of logits: predictions (N,) and uncertainties (N,)."""

    prediction: torch.Tensor
    uncertainty: torch.Tensor


class GraphSegment:
    """Stages and a head run as one graph.

    ``last`` is the last stage, if its features are kept; ``measures`` says whether the graph
    returns :class:`Measured` in place of logits.
    """

    def __init__(self, graph: Graph, last: GraphStage | None, measures: bool) -> None:
        self.graph, self.last, self.measures = graph, last, measures
        self.count = 0 if last is None else last.count

    def __call__(
        self, features: Structure, earlier: Sequence[torch.Tensor] = ()
    ) -> tuple[Structure, Output | Measured]:
        """The last stage's features, and what its head returns or is measured of it."""
        found = self.graph(tensors(features))
        kept = None if self.last is None else self.last.structure(found[: self.count])
        own = found[self.count :]
        return kept, Measured(*own) if self.measures else output(_one_or_two(own))


def _one_or_two(found: list[torch.Tensor]) -> Any:
    return found[0] if len(found) == 1 else tuple(found)


class GraphNetwork(MultiExitNetwork):
    """A network run as graphs.

    Parameters
    ----------
    plain
        The network under torch, on the CPU in fp32; kept as ``plain``, for its MACs are counted.
    spec
        What the network takes.
    stages, heads
        ONNX files, in order.
    load
        Makes a graph of a name and a file's content.
    decides
        Whether a graph may decide where a sample exits: it must not compute that in less than fp32.
    """

    def __init__(
        self,
        plain: MultiExitNetwork,
        spec: InputSpec,
        stages: Sequence[Path],
        heads: Sequence[Path],
        load: Load,
        decides: bool = True,
    ) -> None:
        super().__init__()
        # In a tuple: it is no part of this network.
        self.kept = (plain.eval().cpu().float(),)
        returned = _returned(plain, spec)
        made = zip(stages, returned, strict=True)
        self.stages = nn.ModuleList(
            GraphStage(load(path.stem, path.read_bytes()), own) for path, own in made
        )
        pairs = zip(heads, plain.heads, strict=True)
        self.heads = nn.ModuleList(
            (CascadeHead if takes_earlier(head) else GraphHead)(load(path.stem, path.read_bytes()))
            for path, head in pairs
        )
        self.files, self.load = (tuple(stages), tuple(heads)), load
        self.decides = decides
        self.made: dict[Hashable, GraphSegment | None] = {}
        # Of early_exit.inference.alone, by what they depend on.
        self.singles: dict[Hashable, Graph | None] = {}
        # Number of tensors that the first stage takes.
        self.inputs = len(tensors(spec.batch(2)))
        self.eval()

    def segment(
        self, first: int, last: int, policy: Decisions | None = None, in_a_row: bool = False
    ) -> GraphSegment | None:
        """Stages from ``first`` to ``last``, from 0, and the last one's head as one graph.

        With a policy it measures, where a graph can; ``in_a_row`` is for samples one after the
        other. Made when it is first asked for; ``None`` where it cannot be one graph.
        """
        if policy is not None:
            # Logits that a later head takes are not replaced.
            can = self.decides and policy.measure in MEASURES and last >= always_run(self)
            # What it depends on; thresholds are compared elsewhere.
            policy = policy._replace(below=True, runs=(), thresholds=()) if can else None
        key = (first, last, policy, in_a_row)
        if key not in self.made:
            self.made[key] = self._segment(*key)
        return self.made[key]

    def _segment(
        self, first: int, last: int, policy: Decisions | None, in_a_row: bool
    ) -> GraphSegment | None:
        # Here, since they need the package onnx: without it, parts run one by one.
        try:
            from early_exit.inference.backends.fused import fused
            from early_exit.inference.measured import measured
        except ModuleNotFoundError:
            return None
        if isinstance(self.heads[last], CascadeHead):
            return None
        stages, heads = self.files
        is_final = last == len(heads) - 1
        model = fused(stages[first : last + 1], heads[last], keep_features=not is_final)
        if model is None:
            return None
        if policy is not None:
            model = measured(model, policy, last)
        name = f"stages {first + 1} to {last + 1} with their head"
        graph = self.load(name, model.SerializeToString(), in_a_row)
        return GraphSegment(graph, None if is_final else self.stages[last], policy is not None)

    @property
    def plain(self) -> MultiExitNetwork:
        """The network under torch."""
        return self.kept[0]


@torch.inference_mode()
def _returned(network: MultiExitNetwork, spec: InputSpec) -> list[Structure]:
    """What each stage returns for two samples; tensors without their values."""
    features, found = as_exported(spec.batch(2)), []
    for stage in network.stages:
        features = stage(features)
        found.append(map_tensors(lambda one: one[:0], features))
    return found


def plain_network(network: MultiExitNetwork) -> MultiExitNetwork:
    """The network under torch, of one that is run as graphs; else the network itself."""
    return network.plain if isinstance(network, GraphNetwork) else network
