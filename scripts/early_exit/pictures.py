"""Pictures as a network takes them: scaled to [0, 1], channels last, in batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from tqdm import tqdm

from early_exit.networks import MultiExitNetwork


def for_inference(network: MultiExitNetwork) -> MultiExitNetwork:
    """The network in evaluation mode and in the memory format that suits convolutions."""
    return network.eval().to(memory_format=torch.channels_last)


def scaled(images: torch.Tensor) -> torch.Tensor:
    """Pictures (N, channels, height, width), uint8, as floats in [0, 1], channels last."""
    return images.to(torch.float32, memory_format=torch.channels_last).div_(255)


def batches(images: torch.Tensor, size: int, progress: str) -> Iterator[torch.Tensor]:
    """Scaled batches of ``size``, the last one shorter; on a terminal a bar named ``progress``."""
    with tqdm(total=len(images), desc=progress, unit="img", disable=None) as bar:
        for start in range(0, len(images), size):
            batch = scaled(images[start : start + size])
            yield batch
            bar.update(len(batch))
