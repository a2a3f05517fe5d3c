"""Nested structures of tensors: tuples, lists, dictionaries, named tuples and dataclasses.

A network's input is one, and so are the features that a stage hands on; a single tensor is the
simplest. Every tensor in it has the batch as its first axis, or has no batch at all, as a table of
positions that all samples share. Anything else in it is passed on unchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from early_exit.errors import InputError

# Nested tuples, lists, dictionaries, named tuples or dataclasses of tensors; or a tensor.
Structure = Any


def flatten(structure: Structure) -> tuple[list[Any], Any]:
    """The leaves of a structure, and what :func:`unflatten` needs to put others in their place."""
    leaves, spec = pytree.tree_flatten(structure)
    unknown = {type(leaf) for leaf in leaves if dataclasses.is_dataclass(leaf)}
    if not unknown:
        return leaves, spec
    for kind in unknown:
        torch.export.register_dataclass(kind)
    return flatten(structure)


def unflatten(leaves: Sequence[Any], spec: Any) -> Structure:
    """The structure with these leaves."""
    return pytree.tree_unflatten(list(leaves), spec)


def map_tensors(change: Callable[[torch.Tensor], Any], structure: Structure) -> Structure:
    """The structure with each tensor changed."""
    if isinstance(structure, torch.Tensor):
        return change(structure)
    leaves, spec = flatten(structure)
    changed = [change(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    return unflatten(changed, spec)


def tensors(structure: Structure) -> list[torch.Tensor]:
    """The tensors of a structure, in order."""
    if isinstance(structure, torch.Tensor):
        return [structure]
    return [leaf for leaf in flatten(structure)[0] if isinstance(leaf, torch.Tensor)]


def samples(inputs: Structure) -> int:
    """Samples of a network's inputs, whose arrays all have the batch first."""
    return len(inputs) if isinstance(inputs, torch.Tensor) else len(pytree.tree_leaves(inputs)[0])


def rows(inputs: Structure, chosen: slice | torch.Tensor) -> Structure:
    """The chosen samples of a network's inputs; lazy images are read."""
    if isinstance(inputs, torch.Tensor):
        return inputs[chosen]
    return pytree.tree_map(lambda one: one[chosen], inputs)


def moved(inputs: Structure, device: str) -> Structure:
    """A network's inputs on a device; lazy images when they are read."""
    return pytree.tree_map(lambda one: one.to(device), inputs)


def describe(structure: Structure) -> str:
    """Shapes of a structure's tensors without the batch, for messages: ``[3, 32, 32]``."""
    if isinstance(structure, torch.Tensor):
        return str(list(structure.shape[1:]))
    leaves, spec = flatten(structure)
    shown = [list(x.shape[1:]) if isinstance(x, torch.Tensor) else type(x) for x in leaves]
    return str(unflatten([_Text(one) for one in shown], spec))


class _Text(str):
    """A text that is shown without quotes within a structure."""

    def __new__(cls, value: object) -> _Text:
        return super().__new__(cls, value.__name__ if isinstance(value, type) else value)

    __repr__ = str.__str__


def without_batch(
    one: Structure, other: Structure, counts: tuple[int, int], where: str
) -> frozenset[int]:
    """Positions, among a structure's leaves, of the tensors that have no batch.

    Parameters
    ----------
    one, other
        What a stage returns for batches of two sizes, whose samples are equal as far as they go.
    counts
        The two sizes.
    where
        The stage's name, for messages.

    Raises
    ------
    InputError
        If the structures differ, or a tensor's first axis is neither the batch nor the same for
        both.
    """
    (first, spec), (second, other_spec) = flatten(one), flatten(other)
    if spec != other_spec:
        raise InputError(
            f"{where}: returns another structure for {counts[0]} samples than for {counts[1]}",
            "return the same keys and lengths for every batch",
        )
    found = set()
    for position, (a, b) in enumerate(zip(first, second, strict=True)):
        if not isinstance(a, torch.Tensor):
            continue
        if a.dim() and (len(a), len(b)) == counts and a.shape[1:] == b.shape[1:]:
            continue
        if a.shape != b.shape:
            raise InputError(
                f"{where}: returns tensors of shapes {tuple(a.shape)} and {tuple(b.shape)} for"
                f" {counts[0]} and {counts[1]} samples, but the first axis must be the batch:"
                " samples are removed from it as they exit"
            )
        if not torch.equal(a, b):
            raise InputError(
                f"{where}: returns a tensor of shape {tuple(a.shape)} without a batch, whose values"
                " depend on the batch",
                "give it the batch as its first axis",
            )
        found.add(position)
    return frozenset(found)


def map_batched(
    change: Callable[[torch.Tensor], torch.Tensor],
    structure: Structure,
    shared: Collection[int] = (),
) -> Structure:
    """The structure with each tensor changed, but for those at the positions ``shared``."""
    if isinstance(structure, torch.Tensor):
        return structure if shared else change(structure)
    leaves, spec = flatten(structure)
    changed = [
        change(leaf) if isinstance(leaf, torch.Tensor) and position not in shared else leaf
        for position, leaf in enumerate(leaves)
    ]
    return unflatten(changed, spec)
