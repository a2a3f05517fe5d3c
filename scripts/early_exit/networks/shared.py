"""Which tensors that a stage hands on have no batch: tables that all samples share."""

from __future__ import annotations

import torch
from torch import nn

from early_exit.structures.tree import Structure, rows, samples, tensors, without_batch

# For each stage the positions among its output's leaves.
Shared = tuple[frozenset[int], ...]
NAME = "shared_leaves"


@torch.inference_mode()
def shared_leaves(network: nn.Module, inputs: Structure) -> Shared:
    """Positions of the tensors without a batch in each stage's output.

    Found once, by a batch with a sample more, and kept with the network: a table may happen to be
    as long as a batch.

    Raises
    ------
    InputError
        If the first axis of a tensor is neither the batch nor always the same.
    """
    known = getattr(network, NAME, None)
    if known is None:
        known = _found(network, inputs)
        setattr(network, NAME, known)
    return known


def _found(network: nn.Module, inputs: Structure) -> Shared:
    two = torch.arange(2, device=tensors(inputs)[0].device)
    # A single sample is taken twice.
    two %= samples(inputs)
    outputs = _handed_on(network, rows(inputs, two))
    if all(isinstance(one, torch.Tensor) for one in outputs):
        return (frozenset(),) * len(outputs)
    others = _handed_on(network, rows(inputs, two[[0, 1, 0]]))
    return tuple(
        without_batch(one, other, (2, 3), f"stage {number}")
        for number, (one, other) in enumerate(zip(outputs, others, strict=True), 1)
    )


def _handed_on(network: nn.Module, features: Structure) -> list[Structure]:
    """What each stage hands on."""
    found = []
    for stage in network.stages:
        features = stage(features)
        found.append(features)
    return found
