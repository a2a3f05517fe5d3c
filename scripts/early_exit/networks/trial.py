"""Stages and heads run on a small batch; an error names the one that fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from early_exit.errors import InputError, reason_of
from early_exit.networks.heads import Output, callable_head
from early_exit.structures.tree import Structure, describe, flatten, map_tensors, samples, tensors

RESHAPE = "use reshape instead of view"


class Exit(NamedTuple):
    """The features that reach an exit, and its output."""

    features: Structure
    logits: torch.Tensor
    confidence: torch.Tensor | None = None


class Trial:
    """Runs a network's parts, and checks what they return.

    Parameters
    ----------
    network
        A network of K stages and K heads, in evaluation mode.
    classes
        Number of classes.
    word
        What the inputs are called in messages: ``images`` or ``inputs``.
    """

    def __init__(self, network: nn.Module, classes: int, word: str) -> None:
        self.network, self.classes, self.word = network, classes, word

    def run(self, inputs: Structure) -> list[Exit]:
        """Features and output of each exit."""
        exits: list[Exit] = []
        features, untouched = inputs, map_tensors(torch.clone, inputs)
        for k in range(len(self.network.stages)):
            features, found = self.step(k, features, samples(inputs), [e.logits for e in exits])
            if not same(untouched, inputs):
                raise InputError(
                    f"stage {k + 1}: changes the {self.word}, but the same ones are timed"
                    " repeatedly",
                    "let its first layer work on a copy (inplace=False)",
                )
            exits.append(found)
        return exits

    def step(
        self, k: int, features: Structure, count: int, earlier: list[torch.Tensor], when: str = ""
    ) -> tuple[Structure, Exit]:
        """Output of stage ``k`` (from 0), and its exit with a copy of it; messages count from 1.

        Parameters
        ----------
        count
            Samples of the batch.
        earlier
            Logits of the exits before.
        when
            End of the messages, for a batch that is not whole.
        """
        number, shape = k + 1, describe(features)
        inputs = f"the output of stage {k}," if k else f"{self.word} of"
        where = f"stage {number}: " if k else ""
        advice = RESHAPE if when else None
        what = f"{where}cannot take {inputs} shape {shape}{when}"
        features = _tried(self.network.stages[k], what, advice, features)
        check_features(features, number, count, self.word)
        before, shape = map_tensors(torch.clone, features), describe(features)
        what = f"head {number}: cannot take the output of stage {number}, shape {shape}{when}"
        head = callable_head(self.network.heads[k])
        found = _tried(head, what, advice, features, earlier)
        if not same(before, features):
            raise InputError(
                f"head {number}: changes the output of stage {number}, which the next stage takes",
                "let its first layer work on a copy (inplace=False)",
            )
        self._check_output(found, number, count)
        return features, Exit(before, found.logits, found.confidence)

    def _check_output(self, found: Output, number: int, count: int) -> None:
        logits, expected = found.logits, (count, self.classes)
        is_tensor = isinstance(logits, torch.Tensor)
        shape = tuple(logits.shape) if is_tensor else type(logits).__name__
        if shape != expected:
            raise InputError(
                f"head {number}: returns {shape} for {count} {self.word}, but must return"
                f" {expected}: a logit for each of the {self.classes} classes"
            )
        if not logits.is_floating_point():
            raise InputError(
                f"head {number}: returns logits of type {logits.dtype}, but must return"
                " floating-point numbers"
            )
        if not torch.isfinite(logits).all():
            raise InputError(f"head {number}: returns logits that are infinite or NaN")
        self._check_confidence(found.confidence, number, count)

    def _check_confidence(self, confidence: Any, number: int, count: int) -> None:
        if confidence is None:
            return
        is_tensor = isinstance(confidence, torch.Tensor)
        if not is_tensor or confidence.shape != (count,) or not confidence.is_floating_point():
            shape = tuple(confidence.shape) if is_tensor else type(confidence).__name__
            raise InputError(
                f"head {number}: returns a confidence of {shape} for {count} {self.word}, but must"
                f" return {(count,)} of floating-point numbers: a number for each"
            )
        if not torch.isfinite(confidence).all():
            raise InputError(f"head {number}: returns confidences that are infinite or NaN")


def check_features(features: Structure, number: int, count: int, word: str) -> None:
    """Refuse what a stage may not hand on; a structure is checked with batches of two sizes."""
    if isinstance(features, torch.Tensor):
        if features.dim() < 2 or len(features) != count:
            raise InputError(
                f"stage {number}: returns {tuple(features.shape)} for {count} {word}, but the first"
                " axis must be the batch: samples are removed from it as they exit"
            )
        return
    found = tensors(features)
    if not found or not any(one.dim() and len(one) == count for one in found):
        kind = type(features).__name__
        raise InputError(
            f"stage {number}: returns a {kind} without a tensor whose first axis is the batch of"
            f" {count} {word}",
            "return a tensor, or a tuple, list, dictionary or dataclass of tensors",
        )


def same(one: Structure, other: Structure) -> bool:
    """Whether two structures are equal to the last bit; NaN equals NaN."""
    if isinstance(one, torch.Tensor):
        if not one.is_floating_point():
            return torch.equal(one, other)
        return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    pairs = zip(flatten(one)[0], flatten(other)[0], strict=True)
    return all(same(a, b) for a, b in pairs if isinstance(a, torch.Tensor))


def _tried(part: Callable[..., Any], what: str, advice: str | None, *given: Any) -> Any:
    """Output of a stage or head; an error in it becomes the message ``what``."""
    try:
        return part(*given)
    # It may be the user's code, which can raise anything.
    except Exception as error:
        raise InputError(f"{what} ({reason_of(error)})", advice) from error
