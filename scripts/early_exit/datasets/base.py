"""The contents of a data set, and a split of it as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Contents:
    """The contents of a data set's files.

    Attributes
    ----------
    class_names
        Names of the C classes.
    shape
        Channels, height and width of an image; ``None`` for other inputs.
    files
        Checksums by file name.
    inputs
        Of inputs that are no images, arrays with the batch first (or a dictionary or tuple of
        them) with the first samples of the train split, as NumPy arrays.
    state
        What new samples are prepared with, such as a vocabulary; anything that JSON can hold.
    """

    class_names: Sequence[str]
    shape: Sequence[int] | None
    files: dict[str, str]
    inputs: Any = None
    state: Any = None


@dataclass(frozen=True)
class Split:
    """Samples of one split, in order.

    Attributes
    ----------
    inputs
        Images (N, channels, height, width), uint8, 0 to 255: a tensor or, where that would be too
        large, :class:`~early_exit.datasets.lazy_images.Images`, read on access. Otherwise a tensor
        with N first, or a dictionary or tuple of such tensors.
    labels
        Shape (N,), int64, from 0.
    index
        Shape (N,), int64, indices in the source data set.
    """

    inputs: Any
    labels: torch.Tensor
    index: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, chosen: slice | torch.Tensor) -> Split:
        """A slice of the split, or the samples at the indices (n,). Lazy images stay unread."""
        from early_exit.structures.tree import rows

        lazy = hasattr(self.inputs, "part")
        inputs = self.inputs.part(chosen) if lazy else rows(self.inputs, chosen)
        return Split(inputs, self.labels[chosen], self.index[chosen])
