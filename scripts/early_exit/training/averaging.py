"""Exponential average of the weights, and batch norm statistics for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = Sequence[torch.Tensor]


def running_average(network: nn.Module, decay: float) -> AveragedModel:
    """Exponential average of the weights over the steps (Polyak and Juditsky 1992).

    The decay after t steps is the smaller of ``decay`` and (1 + t) / (10 + t), so that the initial
    weights fade also in a short training.
    """

    def update(averaged: Tensors, current: Tensors, steps: torch.Tensor) -> None:
        share = min(decay, (1 + float(steps)) / (10 + float(steps)))
        get_ema_multi_avg_fn(share)(averaged, current, steps)

    return AveragedModel(network, multi_avg_fn=update)


@torch.no_grad()
def settle_batch_norm(
    network: nn.Module, batches: Iterable[torch.Tensor], kept: Sequence[nn.Module] = ()
) -> None:
    """Recompute batch norm's statistics as a mean over ``batches``, without dropout.

    Those of training belong to other weights (Izmailov et al. 2018, section 3.2). The batches
    should be augmented as in training. Statistics in the modules ``kept`` do not change. The
    network ends in evaluation mode.
    """
    still = {module for part in kept for module in part.modules()}
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m not in still]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        # A cumulative mean.
        norm.momentum = None
        norm.train()
    if norms:
        for batch in batches:
            network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
