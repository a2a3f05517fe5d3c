"""A network whose stages and heads are graphs that a runtime runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from early_exit.inference.backends.tensors import as_exported
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import takes_earlier
from early_exit.structures.inputs import InputSpec
from early_exit.structures.tree import Structure, flatten, map_tensors, tensors, unflatten

# Takes the tensors of a part's arguments, in order; returns those of what the part returns.
Graph = Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]


class GraphStage(nn.Module):
    """A stage run as a graph; ``returned`` is what the stage itself returned for some samples."""

    def __init__(self, graph: Graph, returned: Structure) -> None:
        super().__init__()
        self.graph = graph
        self.leaves, self.spec = flatten(returned)
        self.plain = isinstance(returned, torch.Tensor)

    def forward(self, features: Structure) -> Structure:
        """What the stage hands on."""
        found = self.graph(tensors(features))
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
        Makes a graph of a file.
    """

    def __init__(
        self,
        plain: MultiExitNetwork,
        spec: InputSpec,
        stages: Sequence[Path],
        heads: Sequence[Path],
        load: Callable[[Path], Graph],
    ) -> None:
        super().__init__()
        # In a tuple: it is no part of this network.
        self.kept = (plain.eval().cpu().float(),)
        returned = _returned(plain, spec)
        made = zip(stages, returned, strict=True)
        self.stages = nn.ModuleList(GraphStage(load(path), own) for path, own in made)
        pairs = zip(heads, plain.heads, strict=True)
        self.heads = nn.ModuleList(
            (CascadeHead if takes_earlier(head) else GraphHead)(load(path)) for path, head in pairs
        )
        self.eval()

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
