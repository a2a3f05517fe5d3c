"""Device, precision and memory format of a network, and the scaling of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.networks.memory import formatted, kept_contiguous
from early_exit.structures.tree import Structure, map_tensors, rows, samples

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Batch sizes above which the time per sample hardly falls.
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
        ``fp32``, or ``bf16`` for weights and activations; logits are converted to fp32 either way.
    memory_format
        ``channels_last``, faster for convolutions, or ``contiguous``.
    mean, std
        Per-channel mean and standard deviation of images in [0, 1], or ``None`` for no
        normalisation. A data set has both or neither.
    images
        Whether inputs are uint8 images, which are scaled. Other inputs keep their values.

    Raises
    ------
    InputError
        If the device is not available.
    """

    device: str = "cpu"
    precision: str = "fp32"
    memory_format: str = "channels_last"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    images: bool = True

    def __post_init__(self) -> None:
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("inference.device: no CUDA device is available", "set it to cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of weights and activations."""
        return PRECISIONS[self.precision]

    def ready(self, network: MultiExitNetwork) -> MultiExitNetwork:
        """The network in evaluation mode, moved to the device in place.

        A network that requires contiguous tensors gets them, whatever the memory format.

        On CUDA, fp32 switches TF32 off for the whole process: by default torch lets convolutions
        round to ten bits, differently in batches of other sizes.
        """
        if self.device == "cuda" and self.precision == "fp32":
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
        memory_format = "contiguous" if kept_contiguous(network) else self.memory_format
        return network.eval().to(
            self.device, self.dtype, memory_format=MEMORY_FORMATS[memory_format]
        )

    def prepare(self, inputs: Structure) -> Structure:
        """Inputs of a data set, moved to the device, as the network takes them.

        Images (N, channels, height, width), uint8, are scaled to [0, 1], then normalised by
        ``mean`` and ``std``. Of other inputs floating-point numbers get the engine's precision.
        """
        if not self.images:
            return self._formatted(map_tensors(self._converted, inputs))
        scaled = inputs.to(self.device).to(self.dtype).div_(255)
        if self.mean is not None:
            scaled.sub_(self._of_channels(self.mean))
        if self.std is not None:
            scaled.div_(self._of_channels(self.std))
        # Last: subtracting a mean per channel is three times as fast on contiguous channels.
        return self._formatted(scaled)

    def _converted(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self.device, self.dtype if values.is_floating_point() else None)

    def _formatted(self, inputs: Structure) -> Structure:
        return formatted(inputs, MEMORY_FORMATS[self.memory_format])

    def _of_channels(self, numbers: tuple[float, ...]) -> torch.Tensor:
        return torch.tensor(numbers, device=self.device, dtype=self.dtype)[:, None, None]

    def batches(self, inputs: Structure, size: int, progress: str) -> Iterator[Structure]:
        """Prepared batches of ``size``, the last one shorter; with a progress bar on a terminal."""
        total, unit = samples(inputs), "img" if self.images else "sample"
        with tqdm(total=total, desc=progress, unit=unit, disable=None) as bar:
            for start in range(0, total, size):
                batch = self.prepare(rows(inputs, slice(start, start + size)))
                yield batch
                bar.update(samples(batch))

    def regroup_size(self, batch_size: int) -> int:
        """Size of the batches that remaining samples are regrouped into."""
        return min(batch_size, LARGE[self.device])

    def synchronise(self) -> None:
        """Wait until the device has finished its queued work, for timing."""
        if self.device == "cuda":
            torch.cuda.synchronize()


def scaling(manifest: dict[str, Any]) -> dict[str, Any]:
    """How inputs are prepared, from a data set's manifest: ``mean``, ``std`` and ``images``."""
    numbers = {key: manifest.get(key) for key in ("mean", "std")}
    scaled = {key: None if own is None else tuple(own) for key, own in numbers.items()}
    return scaled | {"images": "inputs" not in manifest}


# Records are made with this engine, whatever the policy runs with.
REFERENCE = Engine()
