"""Multi-exit networks: a class with ``stages`` and ``heads``, built, loaded and kept.

A network is one module with a class ``Network``, a :class:`MultiExitNetwork`. Adding one means one
new module here and its name in ``rules/config.schema.yaml``. Or it is a class in a file of the
user's, named ``path/to/file.py:ClassName``; see :mod:`early_exit.networks.own`.
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from early_exit.errors import InputError
from early_exit.files import replacing
from early_exit.network_file import NetworkFile, network_file
from early_exit.networks import own
from early_exit.networks.checks import check

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


def build(
    name: str, classes: int, shape: list[int], arguments: dict[str, Any] | None = None
) -> MultiExitNetwork:
    """A new network for pictures of ``shape`` (channels, height, width), in evaluation mode.

    Parameters
    ----------
    name
        A module here, or ``path/to/file.py:ClassName``.
    arguments
        Keyword arguments of the class, besides ``classes`` and ``shape`` where it asks for them.

    Raises
    ------
    InputError
        If the class cannot be found or made, or the network does not do what it must; see
        :func:`early_exit.networks.checks.check`.
    """
    network = _made(name, network_file(name), classes, shape, arguments or {})
    try:
        check(network, classes, shape)
    except InputError as error:
        raise InputError(f"network {name}: {error}") from error
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
            f" {len(network.heads)}: choose among them in baselines.exits"
        )
    smaller = MultiExitNetwork()
    smaller.stages = nn.ModuleList([nn.Sequential(*network.stages[:exit_number])])
    smaller.heads = nn.ModuleList([network.heads[exit_number - 1]])
    return smaller


def described(settings: dict[str, Any]) -> dict[str, Any]:
    """What of the setting ``network`` decides which network it is, for :func:`save`.

    ``network`` is its name, ``arguments`` are there if there are any, and ``source``, the
    fingerprint of its file, for a network of the user's.
    """
    name, arguments = settings["name"], settings.get("arguments")
    file = network_file(name)
    source = {"source": file.fingerprint()} if file else {}
    return {"network": name} | ({"arguments": arguments} if arguments else {}) | source


def _made(
    name: str, file: NetworkFile | None, classes: int, shape: list[int], arguments: dict[str, Any]
) -> MultiExitNetwork:
    """The network with new weights, unchecked, in evaluation mode."""
    try:
        made = own.factory(file) if file else import_module(f"{__name__}.{name}").Network
        return own.adopt(_called(made, classes, shape, arguments), MultiExitNetwork).eval()
    except InputError as error:
        raise InputError(f"network {name}: {error}") from error


def _called(
    made: Callable[..., nn.Module], classes: int, shape: list[int], arguments: dict[str, Any]
) -> nn.Module:
    """Call a class with its arguments, and with what it asks for besides."""
    asked = inspect.signature(made).parameters
    known = [key for key in asked if key not in ("classes", "shape")]
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in asked.values())
    for key in arguments:
        if key not in known and not (takes_all and key not in asked):
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes: {', '.join(known) or 'none'}"
            raise InputError(f"takes no argument {key}; {hint}")
    given = {"classes": classes, "shape": list(shape)}
    given = {key: value for key, value in given.items() if key in asked}
    try:
        return made(**given, **arguments)
    except InputError:
        raise
    # It may be the user's code: anything may be wrong with it.
    except Exception as error:
        raise InputError(f"cannot be made ({own.told(error)})") from error


def load_checkpoint(network: MultiExitNetwork, path: str | os.PathLike) -> None:
    """Load a PyTorch state dict or a ``.safetensors`` file, strictly; no code in it is run.

    Raises
    ------
    InputError
        If it is no checkpoint, or if keys or shapes are missing, unknown or different.
    """
    _load_state(network, _read_state(Path(path)), path)


def trained_on_other(path: str | os.PathLike, digest: str) -> str | None:
    """What to warn of where a checkpoint of this workflow was trained on data of another digest."""
    data = _identity(path).get("data") if Path(path).suffix == ".safetensors" else None
    if data in (None, digest):
        return None
    return (
        f"{path} was trained on other data, or on another split of them: if it has seen what it is"
        " calibrated or tested on here, its figures are too good; keep dataset.calibration,"
        " dataset.test and dataset.split_seed as they were in training"
    )


def load_start(network: MultiExitNetwork, path: str | os.PathLike) -> list[int]:
    """Load weights to train on from; as :func:`load_checkpoint`, but whole heads may be missing.

    Returns
    -------
    list of int
        The heads, from 0, of which the file has nothing: they start afresh.

    Raises
    ------
    InputError
        If it is no checkpoint, or if keys or shapes are unknown, different, or missing in part.
    """
    state = {network.rename(key): value for key, value in _read_state(Path(path)).items()}
    own_state = network.state_dict(keep_vars=True)
    # A network may keep a parameter under several names; any of them will do.
    names: dict[int, list[str]] = {}
    for key, value in own_state.items():
        names.setdefault(id(value), []).append(key)
    for keys in names.values():
        found = [state[key] for key in keys if key in state]
        state |= {key: found[0] for key in keys if found and key not in state}
    fresh = []
    for k in range(len(network.heads)):
        missing = {key for key in own_state if key.startswith(f"heads.{k}.")}
        if missing and not missing & state.keys():
            fresh.append(k)
            state |= {key: own_state[key].detach() for key in missing}
    _check_state(network, state, path, "use weights of it, or of its backbone, for as many classes")
    network.load_state_dict(state)
    return fresh


def begun_by_chance(
    network: MultiExitNetwork, again: MultiExitNetwork
) -> tuple[list[int], list[int]]:
    """The stages and heads, from 0, that have other weights when built ``again`` with another seed.

    The rest brings its weights along, as a class that loads some.
    """

    def differing(one: nn.ModuleList, other: nn.ModuleList) -> list[int]:
        pairs = [
            zip(part.parameters(), built.parameters(), strict=True)
            for part, built in zip(one, other, strict=True)
        ]
        return [k for k, pair in enumerate(pairs) if not all(torch.equal(a, b) for a, b in pair)]

    return differing(network.stages, again.stages), differing(network.heads, again.heads)


def _load_state(
    network: MultiExitNetwork, read: dict[str, torch.Tensor], path: str | os.PathLike
) -> None:
    state = {network.rename(key): value for key, value in read.items()}
    remedy = (
        "use a checkpoint of this network and number of classes; weights without heads go into"
        " training.start_from"
    )
    _check_state(network, state, path, remedy)
    network.load_state_dict(state)


def _check_state(
    network: MultiExitNetwork,
    state: dict[str, torch.Tensor],
    path: str | os.PathLike,
    remedy: str,
) -> None:
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
            f"{path}: does not fit the network: parameters {', '.join(found)}; {remedy}"
        )


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

    state = _apart(network.state_dict())
    # One key: the order of several would differ from run to run.
    sealed = identity | {SEAL: _seal(identity, state)}
    metadata = {METADATA_KEY: json.dumps(sealed, sort_keys=True)}
    with replacing(path) as temporary:
        # Not by its own writer, whose errors are not the system's.
        temporary.write_bytes(serialized(state, metadata))


def _apart(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Every tensor in a piece of its own: the format knows no parameter of two names."""
    seen: set[int] = set()
    apart = {}
    for name, value in state.items():
        whole = value.contiguous()
        apart[name] = whole.clone() if whole.data_ptr() in seen else whole
        seen.add(whole.data_ptr())
    return apart


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
    name, shape = identity["network"], identity["shape"]
    file = _same_file(name, identity.get("source"), path)
    network = _made(name, file, identity["classes"], shape, identity.get("arguments", {}))
    with torch.no_grad():
        # What has no size before it has seen a picture gets it here.
        network(torch.zeros(1, *shape))
    if "cut" in identity:
        network = cut(network, identity["cut"])
    _load_state(network, state, path)
    return network.eval(), identity


def _same_file(name: str, source: str | None, path: str | os.PathLike) -> NetworkFile | None:
    """The file that a saved network's class is in, if it still is what it was.

    A path that is not absolute starts here, or in a folder above the saved network.
    """
    file = network_file(name)
    if file is None:
        return None
    places = [Path(), *Path(path).resolve().parents]
    found = [place / file.path for place in places if (place / file.path).is_file()]
    if not found:
        raise InputError(f"{path}: its network is in {file.path}, which is not there; put it back")
    files = [NetworkFile(place, file.attribute) for place in found]
    for one in files:
        if one.fingerprint() == source:
            return one
    raise InputError(
        f"{path}: {file.path} was changed since this network was made; delete it and run again, or"
        " put the file back"
    )


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
