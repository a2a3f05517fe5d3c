"""Multi-exit networks: a class with ``stages`` and ``heads``, built, loaded and kept.

A network is one module with a class ``Network``, a :class:`MultiExitNetwork`. Adding one means one
new module here and its name in ``rules/config.schema.yaml``.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from early_exit.errors import InputError
from early_exit.files import replacing

METADATA_KEY = "early_exit"
SEAL = "seal"


class MultiExitNetwork(nn.Module):
    """A backbone cut into K stages, with a classifier (head) after each.

    Attributes
    ----------
    stages
        K modules; each takes what the one before it gives, the first (N, channels, height, width).
    heads
        K modules; each takes its stage's output and gives logits (N, C).
    """

    stages: nn.ModuleList
    heads: nn.ModuleList

    @staticmethod
    def rename(key: str) -> str:
        """This project's name for a parameter of a foreign checkpoint; by default the same."""
        return key

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Every exit's logits for scaled images, shape (N, K, C)."""
        logits = []
        features = images
        for stage, head in zip(self.stages, self.heads, strict=True):
            features = stage(features)
            logits.append(head(features))
        return torch.stack(logits, dim=1)


def build(name: str, classes: int, shape: list[int]) -> MultiExitNetwork:
    """A new network for pictures of ``shape`` (channels, height, width), in evaluation mode.

    Raises
    ------
    InputError
        If the network cannot take pictures of that shape.
    """
    network = import_module(f"{__name__}.{name}").Network(classes)
    try:
        with torch.inference_mode():
            network.eval()(torch.zeros(1, *shape))
    except RuntimeError as error:
        raise InputError(
            f"network {name}: cannot take pictures of shape {list(shape)} ({error})"
        ) from error
    return network


def cut(network: MultiExitNetwork, exit_number: int) -> MultiExitNetwork:
    """The stages up to an exit, from 1, with that exit's head alone: a smaller network of one exit.

    Raises
    ------
    InputError
        If there is no such exit.
    """
    if not 0 < exit_number <= len(network.heads):
        raise InputError(
            f"network: has no exit {exit_number} to be cut after; its exits are 1 to"
            f" {len(network.heads)}"
        )
    smaller = MultiExitNetwork()
    smaller.stages = nn.ModuleList([nn.Sequential(*network.stages[:exit_number])])
    smaller.heads = nn.ModuleList([network.heads[exit_number - 1]])
    return smaller


def load_checkpoint(network: MultiExitNetwork, path: str | os.PathLike) -> None:
    """Load a PyTorch state dict or a ``.safetensors`` file, strictly; no code in it is run.

    Raises
    ------
    InputError
        If it is no checkpoint, or if keys or shapes are missing, unknown or different.
    """
    _load_state(network, _read_state(Path(path)), path)


def _load_state(
    network: MultiExitNetwork, read: dict[str, torch.Tensor], path: str | os.PathLike
) -> None:
    state = {network.rename(key): value for key, value in read.items()}
    expected = network.state_dict()
    problems = {
        "missing": sorted(expected.keys() - state.keys()),
        "unknown": sorted(state.keys() - expected.keys()),
        "of another shape": sorted(
            key for key in expected.keys() & state.keys() if expected[key].shape != state[key].shape
        ),
    }
    found = [f"{len(keys)} {what} ({_first(keys)})" for what, keys in problems.items() if keys]
    if found:
        raise InputError(
            f"{path}: does not fit the network: parameters {', '.join(found)}; use a checkpoint of"
            " this network and number of classes"
        )
    network.load_state_dict(state)


def _first(keys: list[str], shown: int = 3) -> str:
    return ", ".join(keys[:shown]) + (", ..." if len(keys) > shown else "")


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
            _check_seal(path, state)
            return state
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing; set network.checkpoint to where it is") from error
    # What a damaged or hostile file makes the reader raise is not one type.
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, SafetensorError) as error:
        raise InputError(_no_checkpoint(path, error)) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("pickle", "_pickle", "zipfile", "zlib"):
            raise
        raise InputError(_no_checkpoint(path, error)) from error
    tensors = isinstance(state, dict) and all(isinstance(v, torch.Tensor) for v in state.values())
    if not tensors or not state:
        raise InputError(f"{path}: no state dict of tensors; save network.state_dict()")
    return state


def _no_checkpoint(path: Path, error: Exception) -> str:
    # The reader's own words where they are words; a KeyError's number says nothing.
    reason = f" ({str(error).strip().splitlines()[0][:120]})" if " " in str(error) else ""
    return (
        f"{path}: no checkpoint that can be read safely{reason}; it must be a PyTorch state dict of"
        " plain tensors or a .safetensors file: fetch it again or save it anew"
    )


def save(network: MultiExitNetwork, path: str | os.PathLike, identity: dict[str, Any]) -> None:
    """Write the weights as ``.safetensors``, with what made them, sealed, in the metadata."""
    from safetensors.torch import save as serialized

    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    # One key: the order of several would differ from run to run.
    sealed = identity | {SEAL: _seal(identity, state)}
    metadata = {METADATA_KEY: json.dumps(sealed, sort_keys=True)}
    with replacing(path) as temporary:
        # Not by its own writer, whose errors are not the system's.
        temporary.write_bytes(serialized(state, metadata))


def load(path: str | os.PathLike) -> tuple[MultiExitNetwork, dict[str, Any]]:
    """Read what :func:`save` wrote: the network in evaluation mode, and its identity.

    Raises
    ------
    InputError
        If the file is missing or damaged, or was not written by :func:`save`.
    """
    from safetensors import SafetensorError

    try:
        identity = _identity(path)
        identity.pop(SEAL)
        state = _read_state(Path(path))
    except (OSError, SafetensorError, AttributeError, TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: damaged, or no network of this workflow ({error}); delete it and run again"
        ) from error
    network = build(identity["network"], identity["classes"], identity["shape"])
    if "cut" in identity:
        network = cut(network, identity["cut"])
    _load_state(network, state, path)
    return network.eval(), identity


def _identity(path: str | os.PathLike) -> dict[str, Any]:
    """What :func:`save` wrote into the metadata, its seal among it; empty for a foreign file."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))


def _check_seal(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Refuse weights of this workflow that are not those that were saved."""
    identity = _identity(path)
    if identity and identity.pop(SEAL, None) != _seal(identity, state):
        raise InputError(
            f"{path}: damaged, or changed since it was saved (the seal does not fit); delete it and"
            " run again, or fetch it again"
        )


def _seal(identity: dict[str, Any], state: dict[str, torch.Tensor]) -> str:
    """SHA-256 of an identity and of all weights with their names, types and shapes."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
