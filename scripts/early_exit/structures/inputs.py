"""What a network takes: images, or arrays of any shape and type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from early_exit.errors import InputError
from early_exit.structures.examples import EXAMPLES, decode, encode
from early_exit.structures.tree import Structure, map_tensors, rows, samples

SEED = 0


@dataclass(frozen=True)
class InputSpec:
    """Shapes of a network's inputs, and batches to try it with.

    Images are uint8 and are scaled before they reach the network. All other inputs reach it as they
    are: their values mean something, such as an index in a vocabulary, so a network is tried with
    examples of the data set rather than with random ones.

    Attributes
    ----------
    shape
        Channels, height and width of images; ``None`` for other inputs.
    examples
        Of other inputs: two samples, a tensor or a structure of tensors.
    """

    shape: tuple[int, ...] | None = None
    examples: Structure = None

    @classmethod
    def of(cls, given: InputSpec | Sequence[int]) -> InputSpec:
        """The specification itself, or that of images of a shape (channels, height, width)."""
        return given if isinstance(given, InputSpec) else cls(tuple(int(one) for one in given))

    @classmethod
    def of_samples(cls, inputs: Structure) -> InputSpec:
        """That of inputs which are no images, from some samples."""
        return cls(None, rows(inputs, torch.arange(EXAMPLES) % samples(inputs)))

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> InputSpec:
        """From a manifest, or the provenance of a network: the inverse of :meth:`described`.

        Raises
        ------
        InputError
            If it describes no inputs.
        """
        if described.get("shape") is not None:
            return cls(tuple(described["shape"]))
        try:
            return cls(None, pytree.tree_map(torch.from_numpy, decode(described["inputs"])))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("inputs: neither a shape of images nor examples of arrays") from error

    @property
    def images(self) -> bool:
        """Whether the inputs are images."""
        return self.shape is not None

    @property
    def shapes(self) -> Any:
        """Shape of a sample: a list, or a structure of lists."""
        if self.images:
            return list(self.shape)
        return map_tensors(lambda one: list(one.shape[1:]), self.examples)

    def described(self) -> dict[str, Any]:
        """As JSON, for a manifest or a provenance: ``shape``, or ``inputs``."""
        if self.images:
            return {"shape": list(self.shape)}
        return {"inputs": encode(map_tensors(lambda one: one.numpy(), self.examples))}

    def batch(self, count: int) -> Structure:
        """Inputs of ``count`` samples as the network takes them, in float32, always the same.

        Random images in [0, 1], each darker than the one before, since means of plain noise hardly
        differ; or the examples, in turns.
        """
        if not self.images:
            return rows(self.examples, torch.arange(count) % EXAMPLES)
        images = torch.rand(count, *self.shape, generator=torch.Generator().manual_seed(SEED))
        return images * torch.logspace(0, 1 - count, count, 4).reshape(-1, *[1] * len(self.shape))

    def stored(self, count: int) -> Structure:
        """Inputs of ``count`` samples as a data set has them: random images, uint8, or examples."""
        if not self.images:
            return self.batch(count)
        generator = torch.Generator().manual_seed(SEED)
        return torch.randint(0, 256, (count, *self.shape), generator=generator, dtype=torch.uint8)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InputSpec) and self.kinds == other.kinds

    def __hash__(self) -> int:
        return hash(str(self.kinds))

    @property
    def kinds(self) -> Any:
        """Type and shape of each array of a sample, without the examples' values."""
        if self.images:
            return ["image", list(self.shape)]
        return map_tensors(lambda one: [_name(one.dtype), list(one.shape[1:])], self.examples)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
