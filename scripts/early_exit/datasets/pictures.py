"""Pictures that are read from their files as they are asked for, in a few threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tqdm import tqdm

from early_exit.pictures import read_picture

# What is read once and kept; more is read anew each time.
KEPT_BYTES = 1 << 30
CHUNK = 256


@dataclass(frozen=True)
class Pictures:
    """A sequence of N pictures, indexed like a tensor (N, channels, height, width), uint8.

    Attributes
    ----------
    files
        N files, of any format that Pillow reads.
    size
        Channels, height and width.
    device
        Where what is asked for is put.
    """

    files: Sequence[Path]
    size: tuple[int, int, int]
    device: str = "cpu"

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> torch.Size:
        """N, channels, height, width."""
        return torch.Size([len(self.files), *self.size])

    def part(self, rows: slice) -> Pictures:
        """Some of them, none of them read."""
        return replace(self, files=self.files[rows])

    def to(self, device: str) -> Pictures:
        """The same, put there once they are read."""
        return replace(self, device=device)

    def __getitem__(self, rows: slice | torch.Tensor) -> torch.Tensor:
        """Read the pictures of a slice, or at the places of an index (n,).

        Raises
        ------
        InputError
            If one of them cannot be read.
        """
        if isinstance(rows, slice):
            chosen = self.files[rows]
        else:
            chosen = [self.files[place] for place in rows.tolist()]
        read = torch.empty(len(chosen), *self.size, dtype=torch.uint8)

        def place(number: int) -> None:
            read.numpy()[number] = read_picture(chosen[number], list(self.size))

        # Pillow lets other threads work while it decodes.
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            list(threads.map(place, range(len(chosen))))
        return read.to(self.device)

    def kept(self) -> torch.Tensor | Pictures:
        """All of them in memory if that takes at most a gibibyte; else as they are."""
        if len(self) * math.prod(self.size) > KEPT_BYTES:
            return self
        chunks = [slice(start, start + CHUNK) for start in range(0, len(self), CHUNK)]
        read = [self[rows] for rows in tqdm(chunks, desc="pictures", disable=None)]
        return torch.cat(read) if read else torch.empty(0, *self.size, dtype=torch.uint8)
