"""One pass over a split: what every exit says of every picture."""

from __future__ import annotations

import numpy as np
import torch

from early_exit.engine import Engine
from early_exit.networks import MultiExitNetwork


def all_exits(
    network: MultiExitNetwork, images: torch.Tensor, batch_size: int, engine: Engine
) -> np.ndarray:
    """Every exit's logits for pictures (N, channels, height, width), uint8.

    Returns
    -------
    numpy.ndarray
        Shape (N, K, C), float32, in input order.
    """
    network = engine.ready(network)
    with torch.inference_mode():
        logits = [network(batch).float() for batch in engine.batches(images, batch_size, "exits")]
    return torch.cat(logits).cpu().numpy()
