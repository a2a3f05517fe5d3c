"""Networks in files: external weights, and the workflow's own with their provenance."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from early_exit.config.trusted_code import trusted_file
from early_exit.errors import AGAIN, InputError, reason_of
from early_exit.io.files import replacing
from early_exit.io.weight_files import is_index
from early_exit.networks.base import MultiExitNetwork
from early_exit.networks.build import cut_network, made
from early_exit.networks.checks import settle_memory
from early_exit.networks.fitting import START, fit
from early_exit.networks.state_file import (
    CHECKSUM,
    METADATA_KEY,
    State,
    checksum_of,
    in_line,
    read_provenance,
    read_state,
    shown,
)
from early_exit.structures.examples import LARGEST
from early_exit.structures.inputs import InputSpec


def load_checkpoint(
    network: MultiExitNetwork, path: str | os.PathLike, key: str | None = None
) -> None:
    """Load a PyTorch state dict or a safetensors file, strictly; no code in it is run.

    Parameters
    ----------
    path
        The file, or the index (``*.index.json``) of several.
    key
        Which weights of a file that has several sets, such as ``model_ema``.

    Raises
    ------
    InputError
        If it is no checkpoint, or if keys, shapes or types are missing, unknown or different.
    """
    fit(network, read_state(Path(path), key), Path(path))


def load_start(
    network: MultiExitNetwork, path: str | os.PathLike, key: str | None = None
) -> list[int]:
    """Load weights to start training from; unlike :func:`load_checkpoint`, heads may be missing.

    Parameters
    ----------
    path, key
        As for :func:`load_checkpoint`.

    Returns
    -------
    list of int
        The heads, from 0, that are missing in the file: they keep their new weights.

    Raises
    ------
    InputError
        If it is no checkpoint, if keys, shapes or types are unknown or different, or if a part of
        a head or stage is missing.
    """
    return fit(network, read_state(Path(path), key, START), Path(path), start=True)


def trained_on_other(path: str | os.PathLike, digest: str) -> str | None:
    """Warning if a checkpoint of this workflow was trained on data of another digest, or ``None``.

    Raises
    ------
    InputError
        If it is no checkpoint.
    """
    data = None if is_index(Path(path)) else read_provenance(Path(path)).get("data")
    if data in (None, digest):
        return None
    return (
        f"{path} was trained on other data, or on another split: if it was trained on images of"
        " this calibration or test split, its results are optimistic; keep dataset.calibration,"
        " dataset.test and dataset.split_seed as they were in training"
    )


def begun_by_chance(
    network: MultiExitNetwork, again: MultiExitNetwork
) -> tuple[list[int], list[int]]:
    """The stages and heads, from 0, with random weights: they differ when built ``again``.

    ``again`` is built with another seed. All others have loaded their weights.
    """

    def differing(one: nn.ModuleList, other: nn.ModuleList) -> list[int]:
        pairs = [
            zip(part.parameters(), built.parameters(), strict=True)
            for part, built in zip(one, other, strict=True)
        ]
        return [k for k, pair in enumerate(pairs) if not all(torch.equal(a, b) for a, b in pair)]

    return differing(network.stages, again.stages), differing(network.heads, again.heads)


def save_network(
    network: MultiExitNetwork, path: str | os.PathLike, provenance: dict[str, Any]
) -> None:
    """Write the weights as ``.safetensors``, with provenance and checksum as metadata."""
    from safetensors.torch import save as serialized

    state = _without_aliases(network.state_dict())
    # One key: the order of several would differ from run to run.
    noted = provenance | {CHECKSUM: checksum_of(provenance, state)}
    metadata = {METADATA_KEY: json.dumps(noted, sort_keys=True)}
    with replacing(path) as temporary:
        # The library's own writer does not raise OSError.
        temporary.write_bytes(serialized(state, metadata))


def _without_aliases(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies of tensors that share memory: the format has no parameters of two names."""
    seen: set[int] = set()
    copied = {}
    for name, value in state.items():
        dense = value.contiguous()
        copied[name] = dense.clone() if dense.data_ptr() in seen else dense
        seen.add(dense.data_ptr())
    return copied


def load_network(
    path: str | os.PathLike, trusted: Iterable[str] = ()
) -> tuple[MultiExitNetwork, dict[str, Any]]:
    """Network from a file of :func:`save_network`, in evaluation mode, and its provenance.

    Parameters
    ----------
    trusted
        Names of networks in files, ``path/to/file.py:ClassName``, that may be run. A network of
        the zoo needs none.

    Raises
    ------
    InputError
        If the file is missing or damaged, was not written by :func:`save_network`, or if its
        network is in a file that is not trusted or was changed.
    """
    path = Path(path)
    state = read_state(path)
    provenance = _checked(state.provenance, path)
    name, shape = provenance["network"], InputSpec.read(provenance)
    file = trusted_file(name, provenance.get("source"), trusted, in_line(path), "network")
    described = (name, file, provenance["classes"], shape, provenance.get("arguments", {}))
    if file is None:
        # On the meta device first: a file that does not fit must not take memory.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            _check_shapes(_cut_if_described(made(*described), provenance), state, path)
        network = made(*described)
    else:
        network = made(*described)
        # Lazy modules get their sizes here.
        try:
            with torch.no_grad():
                network(shape.batch(1))
            settle_memory(network, shape)
        # It is the user's code, which can raise anything.
        except Exception as error:
            raise InputError(
                f"{in_line(path)}: network {name}: cannot run ({reason_of(error)})"
            ) from error
    network = _cut_if_described(network, provenance)
    fit(network, state, path)
    return network.eval(), provenance


def _cut_if_described(network: MultiExitNetwork, provenance: dict[str, Any]) -> MultiExitNetwork:
    return cut_network(network, provenance["cut"]) if "cut" in provenance else network


def _check_shapes(network: MultiExitNetwork, state: State, path: Path) -> None:
    """Refuse weights of other names or shapes than those of a network on the meta device."""
    own = {key: value.shape for key, value in network.state_dict().items()}
    if own != {key: value.shape for key, value in state.tensors.items()}:
        raise InputError(
            f"{in_line(path)}: does not fit the network in its provenance",
            "delete it and run again, or fetch it again",
        )


def _checked(provenance: dict[str, Any], path: Path) -> dict[str, Any]:
    """Refuse a provenance in which a key of the network is missing or of a wrong type."""

    def number(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31

    shape = provenance.get("shape")
    sized = isinstance(shape, list) and len(shape) == 3 and all(map(number, shape))
    sized = sized and math.prod(shape) <= LARGEST
    if shape is None:
        try:
            sized = not InputSpec.read(provenance).images
        except InputError:
            sized = False
    fine = {
        "network": isinstance(provenance.get("network"), str),
        "classes": number(provenance.get("classes")),
        "shape": sized,
        "arguments": isinstance(provenance.get("arguments", {}), dict),
        "cut": number(provenance.get("cut", 1)),
    }
    wrong = [key for key, is_fine in fine.items() if not is_fine]
    if wrong:
        raise InputError(
            f"{in_line(path)}: damaged, or no network of this workflow ({wrong[0]} is"
            f" {shown(provenance.get(wrong[0]))})",
            AGAIN,
        )
    return provenance
