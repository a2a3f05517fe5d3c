"""Images that are read from their files on access, in a few threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from early_exit.datasets.images import load_image

# Larger splits are not kept in memory but read on each access.
KEPT_BYTES = 1 << 30
CHUNK = 256


@dataclass(frozen=True)
class Images:
    """A sequence of N images, indexed like a tensor (N, channels, height, width), uint8.

    Attributes
    ----------
    files
        N image files, see :func:`~early_exit.datasets.images.load_image`.
    size
        Channels, height and width.
    device
        Device of the tensors that are read.
    max_pixels
        Files with more pixels are refused; ``None`` for the default limit.
    """

    files: Sequence[Path]
    size: tuple[int, int, int]
    device: str = "cpu"
    max_pixels: int | None = None

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> torch.Size:
        """N, channels, height, width."""
        return torch.Size([len(self.files), *self.size])

    def part(self, rows: slice | torch.Tensor) -> Images:
        """A slice of the images, or those at the indices of a tensor (n,), unread."""
        return replace(self, files=self._chosen(rows))

    def _chosen(self, rows: slice | torch.Tensor) -> Sequence[Path]:
        return (
            self.files[rows] if isinstance(rows, slice) else [self.files[i] for i in rows.tolist()]
        )

    def to(self, device: str) -> Images:
        """The same images, moved to a device when they are read."""
        return replace(self, device=device)

    def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Read the images of a slice, or at the indices of a tensor (n,).

        Raises
        ------
        InputError
            If one of them cannot be read.
        """
        chosen = self._chosen(rows)
        read = torch.empty(len(chosen), *self.size, dtype=torch.uint8)

        def read_into(number: int) -> None:
            read.numpy()[number] = load_image(chosen[number], list(self.size), self.max_pixels)

        # Pillow releases the GIL while it decodes.
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            list(threads.map(read_into, range(len(chosen))))
        return read.to(self.device)

    def kept(self) -> torch.Tensor | Images:
        """A tensor of all images if it takes at most 1 GiB, otherwise these lazy images."""
        if len(self) * math.prod(self.size) > KEPT_BYTES:
            return self
        chunks = [slice(start, start + CHUNK) for start in range(0, len(self), CHUNK)]
        read = [self[rows] for rows in tqdm(chunks, desc="images", disable=None)]
        return torch.cat(read) if read else torch.empty(0, *self.size, dtype=torch.uint8)
