"""What heads take and return: features, and for some the logits of earlier exits; a confidence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from early_exit.structures.tree import Structure

# Name of the argument for the logits of the exits before.
EARLIER = "earlier"
# Name of the measure of what heads return with their logits. Networks depend on no records, whose
# measures are in early_exit.records.uncertainty.measures.
CONFIDENCE = "confidence"


class Output(NamedTuple):
    """Output of a head for N samples.

    Attributes
    ----------
    logits
        Shape (N, C); of a head with one logit (N, 2).
    confidence
        A learned confidence, shape (N,), higher where the exit is more likely right; ``None`` if
        the head returns logits alone.
    """

    logits: torch.Tensor
    confidence: torch.Tensor | None


# Takes features, and the logits (N, C) of each earlier exit.
Head = Callable[[Structure, Sequence[torch.Tensor]], Output]


def callable_head(head: nn.Module) -> Head:
    """A head as a function of features and earlier logits, whatever it takes and returns."""
    if takes_earlier(head):
        return lambda features, earlier: output(head(features, tuple(earlier)))
    return lambda features, earlier: output(head(features))


def takes_earlier(head: nn.Module) -> bool:
    """Whether a head takes the logits of earlier exits, as in a cascade (Wolczyk et al. 2021).

    Its ``forward`` then has a second parameter without a default, or one called ``earlier``.
    """
    try:
        _, *others = inspect.signature(head.forward).parameters.values()
    # What is compiled or scripted may have none.
    except (TypeError, ValueError):
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(
        one.name == EARLIER or (one.kind in positional and one.default is one.empty)
        for one in others
    )


def always_run(network: nn.Module) -> int:
    """Number of the first heads whose logits a later head takes: they run for whoever passes."""
    return max((k for k, head in enumerate(network.heads) if takes_earlier(head)), default=0)


def is_cascade(network: nn.Module) -> bool:
    """Whether a head takes the logits of earlier exits."""
    return any(takes_earlier(head) for head in network.heads)


def learned_uncertainty(logits: torch.Tensor, confidence: torch.Tensor | None) -> torch.Tensor:
    """Uncertainty (N,) by the measure ``confidence``: 1 - a head's confidence.

    Of a head that returns none it is the largest probability, of logits (N, C) in fp32.
    """
    return 1 - (largest_probability(logits) if confidence is None else confidence.float())


def largest_probability(logits: torch.Tensor) -> torch.Tensor:
    """The largest class probability, shape (...), of logits (..., C)."""
    return logits.softmax(dim=-1).amax(dim=-1)


def output(returned: Any) -> Output:
    """What a head returned, as an :class:`Output`; a single confidence per row is flattened.

    One logit for each sample (N, 1), of a binary classifier, becomes two: 0, and the logit of the
    class 1. Their softmax is the logit's sigmoid.
    """
    if isinstance(returned, tuple | list) and len(returned) == 2:
        logits, confidence = returned
        if isinstance(confidence, torch.Tensor) and confidence.dim() == 2:
            confidence = confidence.flatten() if confidence.shape[1] == 1 else confidence
        return Output(_two_logits(logits), confidence)
    return Output(_two_logits(returned), None)


def _two_logits(logits: Any) -> Any:
    if isinstance(logits, torch.Tensor) and logits.dim() == 2 and logits.shape[1] == 1:
        return torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits


def run_heads(network: nn.Module, inputs: Structure) -> list[Output]:
    """Output of every head, for inputs as the network takes them."""
    found: list[Output] = []
    features = inputs
    for stage, head in zip(network.stages, network.heads, strict=True):
        features = stage(features)
        found.append(callable_head(head)(features, [one.logits for one in found]))
    return found


def logits_and_confidences(
    network: nn.Module, inputs: Structure
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logits of all exits, shape (N, K, C), and their confidences, shape (N, K), if learned.

    The confidence of an exit whose head returns none is the largest probability there.
    """
    found = run_heads(network, inputs)
    logits = torch.stack([one.logits for one in found], dim=1)
    if all(one.confidence is None for one in found):
        return logits, None
    largest = largest_probability(logits.float())
    learned = [
        largest[:, k] if one.confidence is None else one.confidence.float()
        for k, one in enumerate(found)
    ]
    return logits, torch.stack(learned, dim=1)
