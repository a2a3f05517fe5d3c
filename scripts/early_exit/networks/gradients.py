"""Check that training reaches every head, on a copy and a small batch."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from early_exit.errors import InputError, reason_of
from early_exit.networks.heads import logits_and_confidences
from early_exit.networks.memory import CHANNELS_LAST, formatted, keep_contiguous, kept_contiguous
from early_exit.structures.inputs import InputSpec

LOGGER = logging.getLogger(__name__)


def check_gradients(
    network: nn.Module,
    weights: tuple[float, ...],
    shape: InputSpec | Sequence[int],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Check on a copy, in training mode, that the loss moves each head that is trained.

    A network that can only be trained in contiguous memory is kept in it from here on.

    Parameters
    ----------
    weights
        One for each exit. Exits of weight 0, and parameters without ``requires_grad``, are not
        trained.
    shape
        What the network takes: channels, height and width of images, or other inputs.
    dtype
        Type of autocast.

    Raises
    ------
    InputError
        One line that names the head.
    """
    if not kept_contiguous(network):
        try:
            _try_gradients(network, weights, shape, dtype, CHANNELS_LAST)
            return
        except InputError:
            # Fails again if the memory format is not the reason.
            _try_gradients(network, weights, shape, dtype, torch.contiguous_format)
        LOGGER.info(
            "The network is trained in contiguous memory: it cannot be trained in channels-last"
        )
        keep_contiguous(network)
        return
    _try_gradients(network, weights, shape, dtype, torch.contiguous_format)


def _try_gradients(
    network: nn.Module,
    weights: tuple[float, ...],
    shape: InputSpec | Sequence[int],
    dtype: torch.dtype,
    memory: torch.memory_format,
) -> None:
    inputs = formatted(InputSpec.of(shape).batch(4), memory)
    tried = copy.deepcopy(network).train()
    reduced = dtype != torch.float32
    with torch.random.fork_rng(devices=[]):
        try:
            tried.to(memory_format=memory)
            with torch.autocast("cpu", dtype, enabled=reduced):
                logits, confidences = logits_and_confidences(tried, inputs)
        except Exception as error:
            how, advice = "", None
            if reduced:
                how = f" and {str(dtype).removeprefix('torch.')}"
                advice = "if it can in full precision, set training.precision to fp32"
            raise InputError(
                f"network: cannot be run in training mode{how} ({reason_of(error)})", advice
            ) from error
        labels = torch.arange(4) % logits.shape[2]
        for k, weight in enumerate(weights):
            if weight:
                loss = functional.cross_entropy(logits[:, k].float(), labels)
                if confidences is not None:
                    loss = loss + confidences[:, k].sum()
                _check_head(k, loss, tried)


def _check_head(k: int, loss: torch.Tensor, network: nn.Module) -> None:
    """Refuse head ``k`` (from 0) if a parameter gets no gradient from its loss, or all are 0."""
    trained = [p for p in network.parameters() if p.requires_grad]
    names = {id(p): name for name, p in network.heads[k].named_parameters() if p.requires_grad}
    if not names:
        return
    try:
        found = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise InputError(f"head {k + 1}: has no gradient ({reason_of(error)})") from error
    own = [(names[id(p)], one) for p, one in zip(trained, found, strict=True) if id(p) in names]
    missed = [name for name, one in own if one is None]
    if missed:
        raise InputError(
            f"head {k + 1}: no gradient reaches its {missed[0]}, so it would never be trained",
            "use it in forward, or leave it out",
        )
    if not any(bool((one != 0).any()) for _, one in own):
        raise InputError(
            f"head {k + 1}: every gradient is 0, so it would never be trained",
            "check that its logits depend on its weights",
        )
