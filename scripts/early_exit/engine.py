"""Where and how a network runs: device, precision, memory format; pictures made ready for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Batches from which on a larger one is hardly cheaper a sample.
LARGE = {"cpu": 64, "cuda": 1024}
MEMORY_FORMATS = {
    "channels_last": torch.channels_last,
    "contiguous": torch.contiguous_format,
}


@dataclass(frozen=True)
class Engine:
    """Device, precision and memory format.

    Attributes
    ----------
    device
        ``cpu`` or ``cuda``.
    precision
        ``fp32``, or ``bf16`` for weights and activations; logits are taken in fp32 either way.
    memory_format
        ``channels_last``, which suits convolutions, or ``contiguous``.
    mean, std
        Of each channel, for pictures in [0, 1]: what is taken away from them, and what they are
        divided by; ``None`` leaves them as they are. A data set has both or neither.

    Raises
    ------
    InputError
        If the device is not there.
    """

    device: str = "cpu"
    precision: str = "fp32"
    memory_format: str = "channels_last"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("inference.device: no CUDA device is there; set it to cpu")

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights and activations."""
        return PRECISIONS[self.precision]

    def ready(self, network: MultiExitNetwork) -> MultiExitNetwork:
        """The network in evaluation mode, moved to the device in place.

        On CUDA full precision is set for the process: there torch lets convolutions round to ten
        bits by default (TF32), differently in batches of other sizes.
        """
        if self.device == "cuda" and self.precision == "fp32":
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
        return network.eval().to(
            self.device, self.dtype, memory_format=MEMORY_FORMATS[self.memory_format]
        )

    def pictures(self, images: torch.Tensor) -> torch.Tensor:
        """Pictures (N, channels, height, width), uint8, on the device and scaled.

        To [0, 1], and then by ``mean`` and ``std``.
        """
        scaled = images.to(self.device).to(self.dtype).div_(255)
        if self.mean is not None:
            scaled.sub_(self._of_channels(self.mean))
        if self.std is not None:
            scaled.div_(self._of_channels(self.std))
        # Last: a number for each channel is taken from a channel at a time three times as fast.
        return scaled.to(memory_format=MEMORY_FORMATS[self.memory_format])

    def _of_channels(self, numbers: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(numbers, device=self.device, dtype=self.dtype)[:, None, None]

    def batches(self, images: torch.Tensor, size: int, progress: str) -> Iterator[torch.Tensor]:
        """Scaled batches of ``size``, the last one shorter; on a terminal a bar ``progress``."""
        with tqdm(total=len(images), desc=progress, unit="img", disable=None) as bar:
            for start in range(0, len(images), size):
                batch = self.pictures(images[start : start + size])
                yield batch
                bar.update(len(batch))

    def worth_waiting_for(self, batch_size: int) -> int:
        """How many samples that are left of batches should wait for each other."""
        return min(batch_size, LARGE[self.device])

    def synchronise(self) -> None:
        """Wait until the device has done what it was told, so that it can be timed."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def scaling(manifest: dict[str, Any]) -> dict[str, tuple[float, ...] | None]:
    """``mean`` and ``std`` of a data set, by its manifest, as an :class:`Engine` takes them."""
    numbers = {key: manifest.get(key) for key in ("mean", "std")}
    return {key: None if own is None else tuple(own) for key, own in numbers.items()}


# What the records are made with, whatever the policy is run with.
REFERENCE = Engine()
