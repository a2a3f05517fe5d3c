"""Samples that wait before a stage until there are enough of them."""

from __future__ import annotations

import torch


class Queue:
    """Features of samples that wait, in one buffer in the memory format that they come in.

    Parameters
    ----------
    size
        How many are enough. The buffer holds twice as many, since nearly so many may come when
        nearly so many wait.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.waiting = 0
        self.taken = 0
        self.buffer: torch.Tensor | None = None
        self.places: torch.Tensor | None = None
        self.channels_last = False

    def __len__(self) -> int:
        return self.waiting

    @property
    def full(self) -> bool:
        """Whether enough wait."""
        return self.waiting >= self.size

    def add(self, features: torch.Tensor, staying: torch.Tensor, places: torch.Tensor) -> None:
        """Put the samples ``staying`` of a batch at the end, with their ``places`` in the input."""
        self.channels_last = _is_channels_last(features)
        rows = features.permute(0, 2, 3, 1) if self.channels_last else features
        count = len(staying)
        self._make_room(rows, places, count)
        end = self.waiting + count
        torch.index_select(rows, 0, staying, out=self.buffer[self.waiting : end])
        self.places[self.waiting : end] = places
        self.waiting = end

    def take(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The first ``size`` of them, or all if they are fewer; valid until the next is added."""
        self._close_gap()
        self.taken = min(self.size, self.waiting)
        self.waiting -= self.taken
        rows = self.buffer[: self.taken]
        features = rows.permute(0, 3, 1, 2) if self.channels_last else rows
        return features, self.places[: self.taken].clone()

    def _make_room(self, rows: torch.Tensor, places: torch.Tensor, count: int) -> None:
        self._close_gap()
        needed = max(2 * self.size, self.waiting + count)
        if self.buffer is not None and len(self.buffer) >= needed:
            return
        buffer = rows.new_empty((needed, *rows.shape[1:]))
        held = places.new_empty(needed)
        if self.waiting:
            buffer[: self.waiting] = self.buffer[: self.waiting]
            held[: self.waiting] = self.places[: self.waiting]
        self.buffer, self.places = buffer, held

    def _close_gap(self) -> None:
        """Move those who wait behind a batch that was taken to the front."""
        if self.taken and self.waiting:
            behind = slice(self.taken, self.taken + self.waiting)
            self.buffer[: self.waiting] = self.buffer[behind].clone()
            self.places[: self.waiting] = self.places[behind].clone()
        self.taken = 0


def keep(features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The samples at ``places``, in the memory format that the features have.

    Indexing a channels-last tensor directly walks it in the other order, six times as slowly.
    """
    if _is_channels_last(features):
        return features.permute(0, 2, 3, 1).index_select(0, places).permute(0, 3, 1, 2)
    return features.index_select(0, places)


def _is_channels_last(features: torch.Tensor) -> bool:
    return features.dim() == 4 and features.is_contiguous(memory_format=torch.channels_last)
