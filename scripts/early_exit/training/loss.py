"""Joint loss: the weighted sum of the exits' losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import Output

# Distillation temperature (Hinton et al. 2015).
TEMPERATURE = 3.0


def exit_weights(weights: tuple[float, ...] | None, exits: int) -> tuple[float, ...]:
    """Weights of K exits, normalised to sum 1; equal by default.

    Raises
    ------
    InputError
        If their number is not that of the exits.
    """
    weights = tuple(weights or (1.0,) * exits)
    if len(weights) != exits:
        raise InputError(
            f"training.exit_weights: {len(weights)} weights for {exits} exits", "give one for each"
        )
    return tuple(weight / sum(weights) for weight in weights)


def idle(network: MultiExitNetwork, weights: tuple[float, ...]) -> set[nn.Parameter]:
    """Parameters that a loss with these exit weights does not depend on."""
    trained = [head for head, weight in zip(network.heads, weights, strict=True) if weight]
    last = max(k for k, weight in enumerate(weights) if weight)
    reached = {p for part in (*network.stages[: last + 1], *trained) for p in part.parameters()}
    return set(network.parameters()) - reached


def softened(logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (..., C) of logits divided by the temperature."""
    return (logits.float() / TEMPERATURE).log_softmax(dim=-1)


@dataclass(frozen=True)
class JointLoss:
    """Cross-entropy of each exit and, for early exits, divergence from the final one.

    Attributes
    ----------
    weights
        One for each exit. The head of an exit of weight 0 is neither trained nor decayed.
    label_smoothing
        Share of the label that is spread evenly over all classes.
    distillation
        Factor of the Kullback-Leibler divergence of early exits from the final one, which gets no
        gradient from it (Phuong and Lampert 2019, section 3).
    """

    weights: tuple[float, ...]
    label_smoothing: float = 0.0
    distillation: float = 0.0

    def taught(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Divergence of logits (N, K, C) from a teacher's predictions, mean over samples.

        ``target`` has its softened log-probabilities (N, C), instead of the labels (Beyer et al.
        2022, section 3).
        """
        distances = [
            weight * _distance(logits[:, k], target)
            for k, weight in enumerate(self.weights)
            if weight
        ]
        return torch.stack(distances).sum()

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Loss of logits (N, K, C) for labels (N,) or probabilities (N, C), mean over samples."""
        logits = logits.float()
        last = len(self.weights) - 1
        loss = logits.new_zeros(())
        for k, weight in enumerate(self.weights):
            if weight == 0:
                continue
            own = functional.cross_entropy(
                logits[:, k], labels, label_smoothing=self.label_smoothing
            )
            if self.distillation and k < last:
                final = softened(logits[:, -1].detach())
                own = own + self.distillation * _distance(logits[:, k], final)
            loss = loss + weight * own
        return loss

    def of_confidences(self, outputs: Sequence[Output], labels: torch.Tensor) -> torch.Tensor:
        """Loss of learned confidences, weighted as the exits are; 0 without any.

        The cross-entropy of a confidence, as the logit of being right, with whether the exit is
        right (DeVries and Taylor 2018 learn one with another loss). ``labels`` has shape (N,).
        """
        loss = outputs[0].logits.new_zeros((), dtype=torch.float32)
        for weight, (logits, confidence) in zip(self.weights, outputs, strict=True):
            if weight and confidence is not None:
                right = (logits.argmax(dim=1) == labels).float()
                own = functional.binary_cross_entropy_with_logits(confidence.float(), right)
                loss = loss + weight * own
        return loss


def _distance(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """KL divergence of softened predictions, scaled to keep gradients (Hinton et al. 2015)."""
    divergence = functional.kl_div(softened(logits), target, reduction="batchmean", log_target=True)
    return TEMPERATURE**2 * divergence
