"""Queue of samples held before a stage until they fill a batch."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch

from early_exit.errors import InputError
from early_exit.structures.tree import Structure, flatten, map_batched, unflatten


class Queue:
    """Features of held samples, and their indices in the input.

    Parameters
    ----------
    size
        Samples of a full batch.
    shared
        Positions among the features' leaves of the tensors without a batch.
    """

    def __init__(self, size: int, shared: Collection[int] = ()) -> None:
        self.size, self.shared = size, shared
        self.count = 0
        self.indices = _Buffer(size)
        self.buffers: dict[int, _Buffer] = {}
        # The last features, for what is not held: the structure, and what all samples share.
        self.leaves: list[Any] = []
        self.spec: Any = None

    def __len__(self) -> int:
        return self.count

    @property
    def full(self) -> bool:
        """Whether a full batch is held."""
        return self.count >= self.size

    def add(self, features: Structure, remaining: torch.Tensor, indices: torch.Tensor) -> None:
        """Append the samples at ``remaining`` in a batch, with their ``indices`` in the input."""
        self.leaves, self.spec = flatten(features)
        for position, leaf in enumerate(self.leaves):
            if isinstance(leaf, torch.Tensor) and position not in self.shared:
                buffer = self.buffers.setdefault(position, _Buffer(self.size))
                buffer.add(leaf, remaining)
                self.leaves[position] = None
        self.indices.append(indices)
        self.count += len(remaining)

    def take(self) -> tuple[Structure, torch.Tensor]:
        """Remove up to ``size`` samples, the oldest first; they are valid until the next add."""
        taken = min(self.size, self.count)
        self.count -= taken
        leaves = [
            self.buffers[position].take(taken) if position in self.buffers else leaf
            for position, leaf in enumerate(self.leaves)
        ]
        return unflatten(leaves, self.spec), self.indices.take(taken).clone()

    def clear(self) -> None:
        """Forget all samples, after a run that was interrupted."""
        self.count = 0
        for buffer in (self.indices, *self.buffers.values()):
            buffer.clear()


class _Buffer:
    """Rows of one tensor, in the memory format they arrive in.

    It holds twice as many rows as a batch, since nearly a batch may arrive when nearly a batch is
    held.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self.taken = 0
        self.rows: torch.Tensor | None = None
        self.channels_last = False

    def add(self, tensor: torch.Tensor, remaining: torch.Tensor) -> None:
        """Append the rows at ``remaining``."""
        self.channels_last = _is_channels_last(tensor)
        rows = tensor.permute(0, 2, 3, 1) if self.channels_last else tensor
        end = self._make_room(rows, len(remaining))
        torch.index_select(rows, 0, remaining, out=self.rows[self.count : end])
        self.count = end

    def append(self, rows: torch.Tensor) -> None:
        """Append all rows."""
        end = self._make_room(rows, len(rows))
        self.rows[self.count : end] = rows
        self.count = end

    def take(self, number: int) -> torch.Tensor:
        """Remove the oldest rows; they are valid until the next change."""
        self._close_gap()
        self.taken = number
        self.count -= number
        rows = self.rows[:number]
        return rows.permute(0, 3, 1, 2) if self.channels_last else rows

    def clear(self) -> None:
        """Forget all rows."""
        self.count = self.taken = 0

    def _make_room(self, rows: torch.Tensor, added: int) -> int:
        """Room for more rows behind those that are held; returns where they end."""
        self._close_gap()
        end = self.count + added
        if self.rows is not None and self.rows.shape[1:] != rows.shape[1:]:
            raise InputError(
                f"network: a stage returns features of shape {tuple(rows.shape[1:])} after"
                f" {tuple(self.rows.shape[1:])}, so samples of different batches cannot be batched"
                " again",
                "pad its input to a fixed length, or set inference.regroup to false",
            )
        if self.rows is None or len(self.rows) < end:
            larger = rows.new_empty((max(2 * self.size, end), *rows.shape[1:]))
            if self.count:
                larger[: self.count] = self.rows[: self.count]
            self.rows = larger
        return end

    def _close_gap(self) -> None:
        """Move the rows behind a batch that was taken to the front."""
        if self.taken and self.count:
            behind = slice(self.taken, self.taken + self.count)
            self.rows[: self.count] = self.rows[behind].clone()
        self.taken = 0


def keep(features: Structure, indices: torch.Tensor, shared: Collection[int] = ()) -> Structure:
    """The samples at ``indices``, in the memory format of the features.

    ``shared`` are the positions among the leaves of tensors without a batch, which stay whole.
    """
    return map_batched(lambda one: _kept(one, indices), features, shared)


def _kept(features: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    # Indexing a channels-last tensor directly is six times as slow.
    if _is_channels_last(features):
        return features.permute(0, 2, 3, 1).index_select(0, indices).permute(0, 3, 1, 2)
    return features.index_select(0, indices)


def _is_channels_last(features: torch.Tensor) -> bool:
    return features.dim() == 4 and features.is_contiguous(memory_format=torch.channels_last)
