"""Memory formats: contiguous or channels-last, and networks that run in contiguous memory only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from early_exit.structures.tree import Structure, map_tensors

CHANNELS_LAST = torch.channels_last


def keep_contiguous(network: nn.Module) -> None:
    """Make a network run in contiguous memory, whatever the format of its images.

    ``view``, for one, refuses channels-last features.
    """
    if not kept_contiguous(network):
        network.contiguous = True
        network.stages[0].register_forward_pre_hook(_contiguous)


def kept_contiguous(network: nn.Module) -> bool:
    """Whether :func:`keep_contiguous` was called."""
    return getattr(network, "contiguous", False)


def _contiguous(_: nn.Module, inputs: tuple[Structure, ...]) -> tuple[Structure, ...]:
    return (map_tensors(torch.Tensor.contiguous, inputs[0]), *inputs[1:])


def formatted(inputs: Structure, memory: torch.memory_format) -> Structure:
    """Inputs in a memory format; only tensors of four dimensions have more than one."""
    return map_tensors(lambda one: one.to(memory_format=memory) if one.dim() == 4 else one, inputs)


@contextmanager
def in_memory(network: nn.Module, memory: torch.memory_format) -> Iterator[None]:
    """Hold the weights in a memory format within the block, then restore them and their strides."""
    # Module.to() changes the format of these only.
    values = [one for one in (*network.parameters(), *network.buffers()) if one.dim() in (4, 5)]
    kept = [one.data for one in values]
    try:
        for one in values:
            one.data = one.data.contiguous(memory_format=memory)
        yield
    finally:
        for one, before in zip(values, kept, strict=True):
            one.data = before
