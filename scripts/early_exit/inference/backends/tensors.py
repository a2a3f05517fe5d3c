"""What the backends share: which tensors a graph takes, and memory for what it returns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from early_exit.structures.tree import Structure, map_tensors

DTYPES = {
    np.dtype(np.float32): torch.float32,
    np.dtype(np.int64): torch.int64,
    np.dtype(np.int32): torch.int32,
    np.dtype(np.bool_): torch.bool,
    np.dtype(np.uint8): torch.uint8,
}

# Sizes of an output's axes, the batch, which is the first, as None; None if they are not known.
Sizes = tuple[int | None, ...] | None


def as_exported(inputs: Structure) -> Structure:
    """Inputs in the types that an exported graph takes: floating-point numbers in fp32."""
    return map_tensors(lambda one: one.float() if one.is_floating_point() else one, inputs)


def positions_of(names: Sequence[str]) -> list[int]:
    """Position among a part's arguments, from 0, of each input of its graph."""
    return [0 if name == "input" else int(name.rpartition("_")[2]) - 1 for name in names]


class FromNumbers:
    """The tensors that a graph takes, among those of its part.

    A graph lacks the inputs that it does not use; the names of several end with their numbers
    from 1.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.positions = None if list(names) == ["input"] else positions_of(names)

    def __call__(self, given: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        """The chosen ones, in the order of the graph's inputs."""
        return given if self.positions is None else [given[p] for p in self.positions]


def first_batched(batched: Sequence[bool]) -> int | None:
    """Position of the first argument that has a batch: tables that all share have none."""
    return batched.index(True) if True in batched else None


def with_batch(sizes: Sizes, count: int | None) -> tuple[int, ...] | None:
    """Shape of an output in a batch of ``count``; ``None`` where it is not known beforehand."""
    if sizes is None or None not in sizes:
        return sizes
    return None if count is None else (count, *sizes[1:])
