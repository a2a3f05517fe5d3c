"""Modules after which stages end: by their names, or by patterns of names."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Sequence
from itertools import pairwise

from torch import fx, nn

from early_exit.errors import InputError
from early_exit.networks.tracing import LISTS

WILD = re.compile(r"[*?\[]")


def names_after(after: Sequence[str] | str, backbone: nn.Module) -> dict[str, list[str]]:
    """Names of modules for each entry of ``after``: itself, or all that a pattern matches.

    ``*`` stands for any part of a name without dots. A pattern that matches no whole name may leave
    out the beginning: ``encoder.layer.*`` matches ``bert.encoder.layer.0``.

    Raises
    ------
    InputError
        If a pattern matches nothing, or could mean modules in several places.
    """
    entries = [after] if isinstance(after, str) else list(after)
    return {entry: _matches(entry, backbone) for entry in entries}


def _matches(entry: str, backbone: nn.Module) -> list[str]:
    if not WILD.search(entry):
        return [entry]
    modules = {name: module for name, module in backbone.named_modules() if name}
    names = [name for name, module in modules.items() if not isinstance(module, LISTS)]
    wanted = entry.split(".")
    # Beginnings of names, and the matches that have them.
    found: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        parts = name.split(".")
        ending = parts[len(parts) - len(wanted) :]
        if len(parts) >= len(wanted) and all(map(fnmatch.fnmatchcase, ending, wanted)):
            found.setdefault(tuple(parts[: len(parts) - len(wanted)]), []).append(name)
    if () in found:
        return found[()]
    if len(found) > 1:
        whole = [".".join([*begin, entry]) for begin in found]
        raise InputError(
            f"with_exits: after: {entry} matches modules in several places",
            f"give one of {', '.join(whole[:5])}",
        )
    if not found:
        stacks = [
            f"{name}.*"
            for name, module in modules.items()
            if isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1
        ]
        hint = f"stacks of blocks: {', '.join(stacks[:5])}" if stacks else None
        raise InputError(f"with_exits: after: {entry} matches no module", hint)
    return next(iter(found.values()))


def ends_in(graph: fx.Graph, names: dict[str, list[str]], backbone: nn.Module) -> list[fx.Node]:
    """The node with the result of each module after which a stage ends."""
    called = {node.target: node for node in graph.nodes if node.op == "call_module"}
    position = {node: i for i, node in enumerate(graph.nodes)}
    last = max(place for node, place in position.items() if node.op != "output")
    ends = []
    for entry, found in names.items():
        if found == [entry]:
            ends.append(_named(entry, called, backbone))
            continue
        # Of a pattern: those that run, and do not end the network.
        running = [called[name] for name in found if name in called]
        running = [node for node in running if position[node] < last]
        ends += sorted(running, key=position.__getitem__)
    if len(ends) < 2:
        found = [end.target for end in ends]
        what = f"{list(names)} names {found}" if any(map(WILD.search, names)) else f"{found}"
        raise InputError(f"with_exits: after: {what}, but must name at least 2 modules")
    for first, second in pairwise(ends):
        if position[first] >= position[second]:
            raise InputError(
                f"with_exits: after: {second.target} runs before {first.target}",
                "name them in order",
            )
    return ends


def _named(name: str, called: dict[str, fx.Node], backbone: nn.Module) -> fx.Node:
    if name in called:
        return called[name]
    near = difflib.get_close_matches(name, called, n=1)
    known = [child for child, _ in backbone.named_children()]
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    raise InputError(f"with_exits: after: {name} is no module that runs by itself", hint)
