"""What an exit criterion keeps of each sample from one exit to the next."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class Memory:
    """Arrays with a row for each sample of a run, wherever in the network the sample is."""

    def __init__(self) -> None:
        self.arrays: list[torch.Tensor] = []
        # How many of the arrays a sample has, by its index.
        self.known = torch.zeros(0, dtype=torch.int64)

    def read(self, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The memory of the samples with these indices, which are all at the same exit."""
        first = int(indices[0])
        count = int(self.known[first]) if first < len(self.known) else 0
        return tuple(array[indices] for array in self.arrays[:count])

    def write(self, found: Sequence[torch.Tensor], indices: torch.Tensor) -> None:
        """Keep ``found``, arrays with a row for each of these samples, for their next exit."""
        rows = max(int(indices.max()) + 1, len(self.known))
        self.known = _grown(self.known, rows)
        self.known[indices.cpu()] = len(found)
        for number, values in enumerate(found):
            if number == len(self.arrays):
                self.arrays.append(values.new_zeros((0, *values.shape[1:])))
            self.arrays[number] = _grown(self.arrays[number], rows)
            self.arrays[number][indices] = values


def _grown(array: torch.Tensor, rows: int) -> torch.Tensor:
    """The array with at least so many rows; twice as many at a time, so that copies are few."""
    if rows <= len(array):
        return array
    more = array.new_zeros((max(rows, 2 * len(array)) - len(array), *array.shape[1:]))
    return torch.cat([array, more])
