"""What the nodes of a traced backbone give for batches of two sizes, and what it depends on."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from early_exit.networks.example import BATCHES
from early_exit.networks.tracing import picked

MANY, MORE, _ = BATCHES


class Shape(tuple):
    """Shape of a tensor."""


class Measured(fx.Interpreter):
    """Runs a graph and notes what each node gave.

    Attributes
    ----------
    found
        What each node gave, with a shape in place of each tensor.
    first
        The first tensor that each of some nodes gave; ``None`` without any.
    same
        Nodes that only take such a tensor out of a structure, and the nodes that made it.
    """

    def __init__(self, module: fx.GraphModule, ends: list[fx.Node]) -> None:
        super().__init__(module)
        self.found: dict[fx.Node, Any] = {}
        self.first: dict[fx.Node, torch.Tensor | None] = dict.fromkeys(ends)
        self.same: dict[fx.Node, fx.Node] = {}

    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        self.found[node] = _described(result)
        if node in self.first:
            leaves = pytree.tree_leaves(result)
            self.first[node] = next((x for x in leaves if isinstance(x, torch.Tensor)), None)
        elif node.target in (operator.getitem, picked) and isinstance(result, torch.Tensor):
            made = next((end for end, first in self.first.items() if first is result), None)
            self.same |= {node: made} if made else {}
        return result


def _described(value: Any) -> Any:
    """A value with a shape in place of each tensor; of a class, all that is in it as a list."""
    if isinstance(value, torch.Tensor):
        return Shape(value.shape)
    if isinstance(value, torch.Size):
        return tuple(value)
    if type(value) in (tuple, list):
        return type(value)(map(_described, value))
    leaves = pytree.tree_leaves(value)
    return value if len(leaves) == 1 and leaves[0] is value else list(map(_described, leaves))


def has_tensors(value: Any) -> bool:
    """Whether there is a tensor in a value."""
    return any(isinstance(leaf, Shape) for leaf in pytree.tree_leaves(value))


def splits(many: Shape, more: Shape) -> bool:
    """Whether samples are along the first axis of a tensor, or not in it at all."""
    return many == more or (many[:1] == (MANY,) and more == (MORE, *many[1:]))


def has_sizes(many: Any, more: Any) -> bool:
    """Whether a value has numbers that may be sizes of the inputs."""
    leaves = zip(*map(pytree.tree_leaves, (many, more)), strict=True)
    return any(type(one) is int and one == other for one, other in leaves)
