"""A network from a file of the user's: run the file, make the network, adopt it.

The class needs no base class of ours. It has ``stages`` and ``heads``, two ``nn.ModuleList`` of
the same length; its ``forward`` is not used.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from early_exit.errors import InputError
from early_exit.network_file import NetworkFile


def factory(file: NetworkFile) -> Callable[..., nn.Module]:
    """The class, or function, that the file defines. The file is run.

    Raises
    ------
    InputError
        If it is not there, or cannot be imported.
    """
    file.check()
    return getattr(_run(file.path.resolve()), file.attribute)


def _run(path: Path) -> ModuleType:
    name = f"own_network_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    # Where its classes look themselves up.
    sys.modules[name] = module
    with _first_on_path(path.parent):
        try:
            spec.loader.exec_module(module)
        # It is the user's code: anything may be wrong with it.
        except Exception as error:
            raise InputError(f"{path.name}: cannot be imported ({told(error)})") from error
    return module


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Let what lies beside a file be imported by it; later imports, in functions, come last."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def told(error: Exception) -> str:
    """An error of the user's code in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def adopt(network: Any, base: type[nn.Module]) -> nn.Module:
    """Make a module with ``stages`` and ``heads`` a ``base``, in place: its keys stay as they are.

    Raises
    ------
    InputError
        If it is no such module.
    """
    if isinstance(network, base):
        return network
    kind = type(network)
    if not isinstance(network, nn.Module):
        raise InputError(f"{kind.__name__}: no nn.Module; return the network itself")
    # What the user renamed stays renamed; how the exits are run is not the user's to say.
    own = {"rename": staticmethod(network.rename)} if hasattr(network, "rename") else {}
    network.__class__ = type(kind.__name__, (base, kind), own)
    return network


def check_parts(network: nn.Module) -> None:
    """Refuse a network without K stages and K heads, K at least 2, all of them registered.

    Raises
    ------
    InputError
        Saying what is missing.
    """
    for name in ("stages", "heads"):
        part = getattr(network, name, None)
        if not isinstance(part, nn.ModuleList | nn.Sequential):
            found = "none" if part is None else f"a {type(part).__name__}"
            raise InputError(f"{name}: {found}, but must be an nn.ModuleList")
    stages, heads = len(network.stages), len(network.heads)
    if stages < 2:
        raise InputError(
            f"stages: {stages}, but must be 2 at least: what leaves early needs a rest"
        )
    if stages != heads:
        raise InputError(f"heads: {heads} for {stages} stages; give one for each")
