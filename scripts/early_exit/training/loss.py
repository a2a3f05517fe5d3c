"""The joint loss: the weighted sum of the exits' losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork

# Softens what the final exit says, so that its second thoughts are heard (Hinton et al. 2015).
TEMPERATURE = 3.0


def exit_weights(given: tuple[float, ...] | None, exits: int) -> tuple[float, ...]:
    """The weights of K exits, which sum to 1.

    Raises
    ------
    InputError
        If there is not one for each exit.
    """
    weights = tuple(given or (1.0,) * exits)
    if len(weights) != exits:
        raise InputError(
            f"training.exit_weights: {len(weights)} weights for {exits} exits; give one for each"
        )
    return tuple(weight / sum(weights) for weight in weights)


def idle(network: MultiExitNetwork, weights: tuple[float, ...]) -> set[nn.Parameter]:
    """The parameters that a loss of these weights, one for each exit, does not depend on."""
    trained = [head for head, weight in zip(network.heads, weights, strict=True) if weight]
    last = max(k for k, weight in enumerate(weights) if weight)
    reached = {p for part in (*network.stages[: last + 1], *trained) for p in part.parameters()}
    return set(network.parameters()) - reached


def softened(logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (..., C) of logits that are divided by the temperature."""
    return (logits.float() / TEMPERATURE).log_softmax(dim=-1)


@dataclass(frozen=True)
class JointLoss:
    """Cross-entropy of each exit and, for the earlier ones, distance from the final one.

    Attributes
    ----------
    weights
        One for each exit. An exit of weight 0 is left out: its head is not trained, nor decayed.
    label_smoothing
        Share of the label that is spread over all classes.
    distillation
        Factor on the Kullback-Leibler divergence of an earlier exit from the final one, whose own
        logits it does not move (Phuong and Lampert 2019, section 3).
    """

    weights: tuple[float, ...]
    label_smoothing: float = 0.0
    distillation: float = 0.0

    def taught(self, logits: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        """Distance of logits (N, K, C) from what a teacher said, a mean over samples.

        That is softened log-probabilities (N, C), and stands instead of the labels (Beyer et al.
        2022, section 3).
        """
        distances = [
            weight * _distance(logits[:, k], said)
            for k, weight in enumerate(self.weights)
            if weight
        ]
        return torch.stack(distances).sum()

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of logits (N, K, C) and labels (N,), or their probabilities (N, C).

        A mean over samples.
        """
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


def _distance(logits: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
    """KL of softened predictions; the square keeps the gradient's size (Hinton et al. 2015)."""
    divergence = functional.kl_div(softened(logits), goal, reduction="batchmean", log_target=True)
    return TEMPERATURE**2 * divergence
