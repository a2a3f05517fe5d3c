"""The base class of multi-exit networks: ``stages`` and ``heads``."""

from __future__ import annotations

import torch
from torch import nn

from early_exit.networks.heads import run_heads
from early_exit.structures.tree import Structure


class MultiExitNetwork(nn.Module):
    """A backbone cut into K stages, with a classifier (head) after each.

    Attributes
    ----------
    stages
        K modules; each takes the previous one's output, the first the inputs: images
        (N, channels, height, width), or an array or structure of arrays. A stage hands on features:
        a tensor with the batch first, or a nested structure of such tensors
        (:mod:`early_exit.structures.tree`).
    heads
        K modules; each takes its stage's output and returns logits (N, C), or one logit (N, 1) of a
        binary classifier. A head may take the
        logits of the exits before as a second argument, ``earlier``, and may return a confidence
        (N,) with its logits (:mod:`early_exit.networks.heads`).
    """

    stages: nn.ModuleList
    heads: nn.ModuleList

    @staticmethod
    def rename(key: str) -> str:
        """The name here of a parameter of an external checkpoint; by default the same."""
        return key

    def forward(self, inputs: Structure) -> torch.Tensor:
        """Logits of all exits for inputs as the network takes them, shape (N, K, C)."""
        return torch.stack([one.logits for one in run_heads(self, inputs)], dim=1)
