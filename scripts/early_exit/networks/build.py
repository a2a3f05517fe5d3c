"""Networks with new weights, by name: one of the zoo, or a class in a file."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from early_exit.config.code_file import CodeFile, code_file
from early_exit.errors import InputError, reason_of
from early_exit.networks import custom as own
from early_exit.networks.base import MultiExitNetwork
from early_exit.networks.checks import check
from early_exit.networks.heads import takes_earlier
from early_exit.networks.memory import keep_contiguous, kept_contiguous
from early_exit.structures.inputs import InputSpec

LOGGER = logging.getLogger(__name__)
PACKAGE = "early_exit.networks.zoo"


def build_network(
    name: str,
    classes: int,
    shape: InputSpec | Sequence[int],
    arguments: dict[str, Any] | None = None,
    warn: Callable[[str], object] = LOGGER.warning,
) -> MultiExitNetwork:
    """A new network, in evaluation mode.

    Parameters
    ----------
    name
        A module of the zoo, or ``path/to/file.py:ClassName``.
    shape
        What it takes: channels, height and width of images, or other inputs.
    arguments
        Keyword arguments of the class. ``classes`` and ``shape`` are added if it takes them.
    warn
        Called with one line for each doubt that is no error.

    Raises
    ------
    InputError
        If the class cannot be found or instantiated, or the network fails
        :func:`early_exit.networks.checks.check`.
    """
    network = made(name, code_file(name), classes, shape, arguments or {})
    try:
        check(network, classes, shape, lambda doubt: warn(f"network {name}: {doubt}"))
        _check_kept(network)
    except InputError as error:
        raise InputError(f"network {name}: {error}") from error
    return network


def cut_network(network: MultiExitNetwork, exit_number: int) -> MultiExitNetwork:
    """A smaller network of one exit: the stages up to it (counted from 1), and its head.

    Raises
    ------
    InputError
        If there is no such exit.
    """
    if not 0 < exit_number <= len(network.heads):
        raise InputError(
            f"network: has no exit {exit_number} to be cut after; its exits are 1 to"
            f" {len(network.heads)}",
            "choose among them in baselines.exits",
        )
    if takes_earlier(network.heads[exit_number - 1]):
        raise InputError(
            f"network: exit {exit_number} takes the logits of earlier exits, so it cannot be cut"
            " out and trained alone",
            "choose other exits in baselines.exits",
        )
    smaller = MultiExitNetwork()
    smaller.stages = nn.ModuleList([nn.Sequential(*network.stages[:exit_number])])
    smaller.heads = nn.ModuleList([network.heads[exit_number - 1]])
    if kept_contiguous(network):
        keep_contiguous(smaller)
    return smaller


def describe_network(settings: dict[str, Any]) -> dict[str, Any]:
    """Provenance of a network from the setting ``network``, for ``checkpoint.save_network``.

    The keys are ``network`` (its name), ``arguments`` (if any) and ``source`` (the fingerprint of
    the file, for a user's network).
    """
    name, arguments = settings["name"], settings.get("arguments")
    file = code_file(name)
    source = {"source": file.fingerprint()} if file else {}
    return {"network": name} | ({"arguments": arguments} if arguments else {}) | source


def made(
    name: str,
    file: CodeFile | None,
    classes: int,
    shape: InputSpec | Sequence[int],
    arguments: dict[str, Any],
) -> MultiExitNetwork:
    """A network with new weights, unchecked, in evaluation mode. A ``file`` is run.

    Raises
    ------
    InputError
        If the class cannot be found or instantiated.
    """
    try:
        maker = own.factory(file) if file else _of_project(name)
        return own.adopt(_called(maker, classes, shape, arguments), MultiExitNetwork).eval()
    except InputError as error:
        raise InputError(f"network {name}: {error}") from error


def _of_project(name: str) -> Callable[..., nn.Module]:
    """The class of a network of the zoo."""
    module = f"{PACKAGE}.{name}"
    exists = name.isidentifier() and find_spec(module) is not None
    network = getattr(import_module(module), "Network", None) if exists else None
    if network is None:
        raise InputError("is no network of this project; a class in a file is file.py:ClassName")
    return network


def _called(
    maker: Callable[..., nn.Module],
    classes: int,
    shape: InputSpec | Sequence[int],
    arguments: dict[str, Any],
) -> nn.Module:
    """Call a class with its arguments, and with ``classes`` and ``shape`` if it takes them."""
    accepted = inspect.signature(maker).parameters
    known = [key for key in accepted if key not in ("classes", "shape")]
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in accepted.values())
    for key in arguments:
        if key not in known and not (takes_all and key not in accepted):
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes: {', '.join(known) or 'none'}"
            raise InputError(f"takes no argument {key}", hint)
    of_data = {"classes": classes, "shape": InputSpec.of(shape).shapes}
    of_data = {key: value for key, value in of_data.items() if key in accepted}
    try:
        return maker(**of_data, **arguments)
    except InputError:
        raise
    # It may be the user's code, which can raise anything.
    except (Exception, SystemExit) as error:
        raise InputError(f"cannot be instantiated ({reason_of(error)})") from error


def _check_kept(network: nn.Module) -> None:
    """Refuse a network whose state is not plain tensors only: it could not be saved."""
    for key, value in network.state_dict().items():
        if not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
            raise InputError(
                f"its state has {key}, which is no plain tensor and cannot be saved",
                "register what belongs to the weights as a parameter or buffer",
            )
