"""Logits of every exit, in one pass over a split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from early_exit.inference.engine import Engine
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import logits_and_confidences
from early_exit.structures.tree import Structure


class Outputs(NamedTuple):
    """Outputs of every exit for N samples.

    Attributes
    ----------
    logits
        Shape (N, K, C), float32.
    confidence
        Learned confidences, shape (N, K), float32; ``None`` where no head returns any.
    """

    logits: np.ndarray
    confidence: np.ndarray | None


def all_exits(
    network: MultiExitNetwork, inputs: Structure, batch_size: int, engine: Engine
) -> np.ndarray:
    """Logits of every exit for a split's inputs.

    Returns
    -------
    numpy.ndarray
        Shape (N, K, C), float32, in input order.
    """
    return all_outputs(network, inputs, batch_size, engine).logits


def all_outputs(
    network: MultiExitNetwork, inputs: Structure, batch_size: int, engine: Engine
) -> Outputs:
    """Logits of every exit, and learned confidences, for a split's inputs, in input order."""
    network = engine.ready(network)
    return outputs_of(network, engine.batches(inputs, batch_size, "exits"))


@torch.inference_mode()
def outputs_of(network: MultiExitNetwork, batches: Iterable[Structure]) -> Outputs:
    """As :func:`all_outputs`, of prepared batches; the network is ready, too."""
    logits, confidences = [], []
    for batch in batches:
        found, confidence = logits_and_confidences(network, batch)
        logits.append(found.float())
        confidences += [] if confidence is None else [confidence]
    learned = torch.cat(confidences).cpu().numpy() if confidences else None
    return Outputs(torch.cat(logits).cpu().numpy(), learned)
