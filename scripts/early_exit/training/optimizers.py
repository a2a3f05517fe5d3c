"""Optimizers by name, and the learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from early_exit.training.muon import Muon, hidden_weights

MOMENTUM = 0.9
# One cycle (Smith and Topin 2018) with the defaults of PyTorch's OneCycleLR: from 1/25 of the peak
# up in three tenths of the steps, then down to 1/250,000, along cosines.
RISE = 0.3
FIRST, LAST = 1 / 25, 1 / 250_000


def adamw(groups: list[dict[str, Any]], network: nn.Module) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019)."""
    return torch.optim.AdamW(groups, lr=0.0)


def sgd(groups: list[dict[str, Any]], network: nn.Module) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum (Sutskever et al. 2013)."""
    return torch.optim.SGD(groups, lr=0.0, momentum=MOMENTUM, nesterov=True)


def muon(groups: list[dict[str, Any]], network: nn.Module) -> torch.optim.Optimizer:
    """Muon for convolutions from features to features (Jordan et al. 2024), otherwise SGD."""
    hidden = hidden_weights(network)
    decaying, others = groups
    turned = [p for p in decaying["params"] if p in hidden]
    ends = [p for p in decaying["params"] if p not in hidden]
    groups = [{**decaying, "params": turned, "turned": True}, {**decaying, "params": ends}, others]
    return Muon(groups, MOMENTUM)


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], nn.Module], torch.optim.Optimizer]] = {
    "adamw": adamw,
    "muon": muon,
    "sgd": sgd,
}


def optimizer(name: str, network: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """Optimizer of the parameters with ``requires_grad``. Those of one dimension do not decay.

    Its learning rate is 0 until :func:`set_rate`.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[name](groups, network)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def one_cycle(step: int, steps: int) -> float:
    """Learning rate at step 0 .. ``steps`` - 1, as a share of the peak; 1 for a single step."""
    if steps == 1:
        return 1.0
    top = RISE * steps - 1
    if step <= top:
        return _cosine(FIRST, 1.0, step / top)
    return _cosine(1.0, LAST, (step - top) / (steps - 1 - top))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
