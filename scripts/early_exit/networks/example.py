"""Example inputs of a backbone in batches of one to three, and the call with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from early_exit.errors import InputError

Inputs = torch.Tensor | Mapping[str, torch.Tensor] | Sequence[torch.Tensor]
# Sizes that depend on the batch are told from others by two batches. The last has one sample.
BATCHES = (2, 3, 1)


class Example:
    """Inputs of a backbone: a tensor, a dict of tensors, or a tuple of them, the batch first.

    Parameters
    ----------
    shape
        Shape of a sample: inputs are then one tensor of random numbers in [0, 1).
    inputs
        Inputs of 2 or more samples.

    Raises
    ------
    InputError
        If there are not either a shape or inputs, or inputs are anything else.
    """

    def __init__(self, shape: Sequence[int] | None, inputs: Inputs | None) -> None:
        if (shape is None) == (inputs is None):
            raise InputError("with_exits: give either shape or inputs")
        self.shape = shape
        if inputs is None:
            inputs = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
        self.inputs = _checked(inputs)

    def batch(self, count: int) -> Inputs:
        """Inputs of ``count`` samples; they are copies."""

        def taken(value: torch.Tensor) -> torch.Tensor:
            # Indexed by a tensor: copied.
            return value[torch.arange(count) % len(value)]

        return pytree.tree_map(taken, self.inputs)

    @property
    def keys(self) -> list[str | int]:
        """Keys of a dict, or positions in a tuple; none for a tensor."""
        if isinstance(self.inputs, torch.Tensor):
            return []
        return list(self.inputs) if isinstance(self.inputs, dict) else list(range(len(self.inputs)))

    @property
    def shapes(self) -> Any:
        """Shapes of a sample, in the structure of the inputs."""
        return pytree.tree_map(lambda value: tuple(value.shape[1:]), self.inputs)

    def __str__(self) -> str:
        if self.shape is not None:
            return f"images of shape {list(self.shape)}"
        if isinstance(self.inputs, torch.Tensor):
            return f"inputs of shape {list(self.inputs.shape[1:])}"
        parts = [f"{key} {list(self.inputs[key].shape[1:])}" for key in self.keys]
        return f"inputs of shapes {', '.join(parts)}"


def _checked(inputs: Any) -> Inputs:
    """Inputs as a tensor, a dict or a tuple."""
    if isinstance(inputs, Mapping):
        inputs = dict(inputs)
    elif isinstance(inputs, list):
        inputs = tuple(inputs)
    values = list(inputs.values()) if isinstance(inputs, dict) else inputs
    values = list(values) if isinstance(values, tuple) else values
    values = values if isinstance(values, list) else [values]
    if not values or not all(isinstance(value, torch.Tensor) for value in values):
        raise InputError("with_exits: inputs: must be a tensor, or a dict or tuple of tensors")
    if isinstance(inputs, dict) and not all(isinstance(key, str) for key in inputs):
        raise InputError("with_exits: inputs: keys must be the names of the backbone's arguments")
    counts = {len(value) if value.dim() else 0 for value in values}
    if len(counts) > 1 or min(counts) < 2:
        raise InputError(
            "with_exits: inputs: each must have the same number of samples, 2 or more, along its"
            " first axis"
        )
    return inputs


def called(backbone: nn.Module, inputs: Any) -> Any:
    """Output of a backbone; the keys of a dict are the names of arguments."""
    if isinstance(inputs, dict):
        return backbone(**inputs)
    return backbone(*inputs) if isinstance(inputs, tuple) else backbone(inputs)


def logits_of(result: Any) -> torch.Tensor:
    """The logits in what a backbone returns: a tensor, or an output with ``logits``.

    Raises
    ------
    InputError
        If it returns anything else.
    """
    if isinstance(result, torch.Tensor | torch.fx.Proxy):
        return result
    logits = result.get("logits") if isinstance(result, Mapping) else None
    logits = getattr(result, "logits", logits)
    if isinstance(logits, torch.Tensor | torch.fx.Proxy):
        return logits
    if isinstance(result, tuple | list) and len(result) == 1:
        return logits_of(result[0])
    what = f"more than one tensor, a {type(result).__name__}"
    if not isinstance(result, tuple | list | Mapping):
        what = f"a {type(result).__name__}"
    raise InputError(
        f"with_exits: the backbone returns {what}, but must return one tensor, or an output with"
        " logits",
        "write a class with stages and heads instead",
    )


def handed_in(inputs: Any, shapes: Any) -> Any:
    """Inputs of the first stage, if they have the shapes that the backbone was traced with.

    Raises
    ------
    InputError
        If they have others, which the traced numbers do not fit.
    """
    found = pytree.tree_map(lambda value: tuple(value.shape[1:]), _of_interest(inputs, shapes))
    if found != shapes:
        raise InputError(
            f"with_exits: inputs of shape {found}, but the backbone was cut for {shapes}",
            "give inputs of that shape (pad or crop them), or cut it for others",
        )
    return inputs


def _of_interest(inputs: Any, shapes: Any) -> Any:
    return {key: inputs[key] for key in shapes} if isinstance(shapes, dict) else inputs
