"""Networks from a user's file: run the file, build the network, adopt it.

The class needs no base class. It has ``stages`` and ``heads``, two ``nn.ModuleList`` of
the same length; its ``forward`` is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from early_exit.config.code_file import CodeFile
from early_exit.config.run_code import run_code
from early_exit.errors import InputError


def factory(file: CodeFile) -> Callable[..., nn.Module]:
    """The class, or function, that the file defines. The file is run.

    Raises
    ------
    InputError
        If the file is missing or cannot be imported.
    """
    return run_code(file, "network")


def adopt(network: Any, base: type[nn.Module]) -> nn.Module:
    """Turn a module with ``stages`` and ``heads`` into a ``base``, in place; its keys are kept.

    Raises
    ------
    InputError
        If it is not an ``nn.Module``.
    """
    if isinstance(network, base):
        return network
    kind = type(network)
    if not isinstance(network, nn.Module):
        raise InputError(f"{kind.__name__}: no nn.Module", "return the network itself")
    # The user's rename is kept, but not the user's forward.
    own = {"rename": staticmethod(network.rename)} if hasattr(network, "rename") else {}
    network.__class__ = type(kind.__name__, (base, kind), own)
    return network


def check_parts(network: nn.Module) -> None:
    """Refuse a network without K registered stages and K heads, K at least 2.

    Raises
    ------
    InputError
        Names what is missing.
    """
    for name in ("stages", "heads"):
        part = getattr(network, name, None)
        if not isinstance(part, nn.ModuleList | nn.Sequential):
            found = "none" if part is None else f"a {type(part).__name__}"
            raise InputError(f"{name}: {found}, but must be an nn.ModuleList")
    stages, heads = len(network.stages), len(network.heads)
    if stages < 2:
        raise InputError(
            f"stages: {stages}, but must be at least 2: an early exit and the final one"
        )
    if stages != heads:
        raise InputError(f"heads: {heads} for {stages} stages", "give one for each")
