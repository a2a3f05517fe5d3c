"""What a network must do, tried on small batches before anything long starts."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from early_exit.errors import InputError
from early_exit.networks.own import check_parts, told

# Results may differ in their last digits with the size of the batch that a picture is in.
ALIKE = 1e-3
SEED = 0


def check(network: nn.Module, classes: int, shape: list[int]) -> None:
    """Try a network of K exits on random pictures of ``shape`` (channels, height, width).

    K stages and K heads, K at least 2; each head gives (N, C) finite logits, leaves its stage's
    features as they are, and says the same of a picture whatever else is in the batch. No stage
    changes the pictures.

    Raises
    ------
    InputError
        One line that names the stage or head.
    """
    check_parts(network)
    generator = torch.Generator().manual_seed(SEED)
    pictures = torch.rand(2, *shape, generator=generator)
    network.eval()
    # The network's own randomness, if it has any, is no reason for the next weights to differ.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        both = _logits(network, pictures, classes)
        single = [_logits(network, picture[None], classes) for picture in pictures]
    for k, logits in enumerate(both):
        alone = torch.cat([one[k] for one in single])
        apart = float((alone - logits).abs().max())
        if apart > ALIKE * max(1.0, float(logits.abs().max())):
            raise InputError(
                f"head {k + 1}: says something else of a picture alone than in a batch (logits"
                f" differ by {apart:.2g}); in evaluation mode nothing may depend on the other"
                " pictures, as batch norm without running statistics does"
            )


def _logits(network: nn.Module, pictures: torch.Tensor, classes: int) -> list[torch.Tensor]:
    """Each head's logits; what stands in the way of them is named."""
    logits, features, untouched = [], pictures, pictures.clone()
    for k, (stage, head) in enumerate(zip(network.stages, network.heads, strict=True), 1):
        shape = list(features.shape[1:])
        given = f"what stage {k - 1} gives" if k > 1 else "pictures"
        where = f"stage {k}: " if k > 1 else ""
        features = _run(stage, features, f"{where}cannot take {given} of shape {shape}")
        if not _alike(untouched, pictures):
            raise InputError(
                f"stage {k}: changes the pictures, but the same ones are timed again and again; let"
                " its first layer work in a copy (inplace=False)"
            )
        if not isinstance(features, torch.Tensor):
            raise InputError(
                f"stage {k}: gives a {type(features).__name__}, but must give one tensor"
            )
        before, shape = features.clone(), list(features.shape[1:])
        found = _run(head, features, f"head {k}: cannot take what stage {k} gives, shape {shape}")
        if not _alike(before, features):
            raise InputError(
                f"head {k}: changes what stage {k} gives, which the next stage takes; let its first"
                " layer work in a copy (inplace=False)"
            )
        expected = (len(pictures), classes)
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        if shape != expected:
            raise InputError(
                f"head {k}: gives {shape} for {len(pictures)} pictures, but must give {expected}:"
                f" a logit for each of the {classes} classes"
            )
        if not torch.isfinite(found).all():
            raise InputError(f"head {k}: gives logits that are infinite or no numbers")
        logits.append(found)
    return logits


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether they hold the same to the last bit; what is no number counts as the same."""
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def _run(part: nn.Module, batch: torch.Tensor, what: str) -> torch.Tensor:
    try:
        return part(batch)
    # It may be the user's code: anything may be wrong with it.
    except Exception as error:
        raise InputError(f"{what} ({told(error)})") from error


def check_gradients(network: nn.Module, weights: tuple[float, ...], shape: list[int]) -> None:
    """Each head that is trained must be moved by the loss; tried on a copy, in training mode.

    Parameters
    ----------
    weights
        One for each exit; one of weight 0 is not trained. Nor is a parameter that wants no
        gradient.

    Raises
    ------
    InputError
        One line that names the head.
    """
    generator = torch.Generator().manual_seed(SEED)
    pictures = torch.rand(4, *shape, generator=generator)
    tried = copy.deepcopy(network).train()
    with torch.random.fork_rng(devices=[]):
        try:
            logits = tried(pictures)
        except Exception as error:
            raise InputError(f"network: cannot be run in training mode ({told(error)})") from error
        labels = torch.arange(4) % logits.shape[2]
        for k, weight in enumerate(weights):
            if weight:
                _check_head(k, functional.cross_entropy(logits[:, k], labels), tried)


def _check_head(k: int, loss: torch.Tensor, network: nn.Module) -> None:
    """The gradients of exit ``k``'s loss, from 0: all can be computed, and its head has some."""
    trained = [p for p in network.parameters() if p.requires_grad]
    names = {id(p): name for name, p in network.heads[k].named_parameters() if p.requires_grad}
    if not names:
        return
    try:
        found = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise InputError(f"head {k + 1}: has no gradient ({told(error)})") from error
    own = [(names[id(p)], one) for p, one in zip(trained, found, strict=True) if id(p) in names]
    missed = [name for name, one in own if one is None]
    if missed:
        raise InputError(
            f"head {k + 1}: no gradient reaches its {missed[0]}, so it would never be trained; use"
            " it in forward, or leave it out"
        )
    if not any(bool((one != 0).any()) for _, one in own):
        raise InputError(
            f"head {k + 1}: every gradient is 0, so it would never be trained; check that its"
            " logits depend on its weights"
        )
