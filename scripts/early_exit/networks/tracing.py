"""Graphs of a backbone, in which the modules between cuts are called as they are.

A graph has one placeholder, the inputs, and returns the logits. Modules that contain the end of a
stage are followed into; all others stay modules, which drop out and count as they do in training.
"""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from early_exit.networks.example import Example, called, logits_of

LISTS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
# What torch.fx can write into a graph.
PLAIN = (int, float, bool, complex, str, torch.dtype, torch.device, torch.memory_format, slice)


@dataclass
class Traced:
    """A graph of a backbone.

    Attributes
    ----------
    graph
        Its targets are names of the backbone's modules and parameters, or of ``constants``.
    constants
        Tensors and graphs of the trace itself, by their names.
    fixed
        Whether all sizes but the number of samples are those of the example.
    """

    graph: fx.Graph
    constants: dict[str, Any]
    fixed: bool

    @property
    def placeholder(self) -> fx.Node:
        return next(node for node in self.graph.nodes if node.op == "placeholder")

    @property
    def output(self) -> fx.Node:
        return next(node for node in self.graph.nodes if node.op == "output")


def inside(name: str, after: Sequence[str]) -> bool:
    """Whether a module contains the end of a stage."""
    return any(end.startswith(f"{name}.") for end in after)


def by_fx(backbone: nn.Module, after: Sequence[str], example: Example) -> Traced:
    """Follow a backbone by ``torch.fx``. It raises errors of any type."""
    graph = _Tracer(after, example).trace(backbone)
    return Traced(_clean(graph, backbone), {}, fixed=False)


class _Tracer(fx.Tracer):
    """Traces only into modules that contain the end of a stage; all others are leaves."""

    def __init__(self, after: Sequence[str], example: Example) -> None:
        super().__init__()
        self.after, self.example = after, example

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return not inside(name, self.after)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Trace the inputs only; other arguments of ``forward`` keep their defaults."""
        inputs, leaves = _given(self.graph, self.example)
        given = pytree.tree_unflatten([self.proxy(node) for node in leaves], inputs)
        forward = functools.partial(root_fn, self.root)
        return lambda: logits_of(called(forward, given)), []


def _given(graph: fx.Graph, example: Example) -> tuple[pytree.TreeSpec, list[fx.Node]]:
    """The inputs' structure and tensors, from one placeholder; named as the keys of a dict."""
    structure = pytree.tree_structure(example.inputs)
    if not example.keys:
        return structure, [graph.placeholder("images")]
    inputs = graph.placeholder("inputs")
    tensors = []
    for key in example.keys:
        name = key if isinstance(key, str) else f"input_{key}"
        item = graph.create_node("call_function", operator.getitem, (inputs, key), {}, name)
        tensors.append(item)
    return structure, tensors


def by_export(backbone: nn.Module, after: Sequence[str], example: Example) -> Traced:
    """Follow a backbone by ``torch.export``, with any number of samples.

    Each module that does not contain an end is one operator of the exported graph, and becomes a
    call of the module in what is returned. It raises errors of any type.
    """
    two = example.batch(2)
    samples = pytree.tree_map(lambda _: {0: torch.export.Dim.DYNAMIC}, two)
    calls = _Calls()
    with calls.recorded(backbone, after), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            _Logits(backbone), (two,), dynamic_shapes=(samples,), strict=False
        )
        module = program.module(check_guards=False)
    graph = calls.restored(module.graph, example)
    constants = {}
    known = {name for name, _ in _attributes(backbone)}
    for node in graph.nodes:
        if node.op == "get_attr":
            name = node.target.removeprefix("backbone.")
            if name not in known:
                constants[name] = operator.attrgetter(node.target)(module)
            node.target = name
    return Traced(_clean(graph, backbone), constants, fixed=True)


def _attributes(backbone: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from backbone.named_parameters(remove_duplicate=False)
    yield from backbone.named_buffers(remove_duplicate=False)


class _Logits(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, inputs: Any) -> torch.Tensor:
        return logits_of(called(self.backbone, inputs))


@dataclass
class _Call:
    """A call of a module: arguments with a mark for each tensor and size, and its output."""

    name: str
    forward: Callable[..., Any]
    leaves: list[Any]
    arguments: pytree.TreeSpec
    output: pytree.TreeSpec | None = None
    returned: list[Any] | None = None

    def given(self, tensors: Sequence[Any], sizes: Sequence[Any]) -> tuple[tuple, dict]:
        """Arguments and keyword arguments with these tensors and sizes."""
        parts = {TENSOR: iter(tensors), SIZE: iter(sizes)}
        leaves = [next(parts[leaf]) if isinstance(leaf, _Mark) else leaf for leaf in self.leaves]
        return pytree.tree_unflatten(leaves, self.arguments)


class _Mark:
    """Stands for a value of the graph."""


TENSOR, SIZE = _Mark(), _Mark()


def _marked(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return TENSOR
    return SIZE if isinstance(value, torch.SymInt) else value


# Calls that are being recorded: the operator, which is global, knows their numbers only.
_recorded: list[_Call] = []


@functools.cache
def _operator() -> Callable[[int, list[torch.Tensor], list[int]], list[torch.Tensor]]:
    """An operator that stands for the call of a module, with its tensors and sizes."""

    def run(number: int, tensors: list[torch.Tensor], sizes: list[int]) -> list[torch.Tensor]:
        call = _recorded[number]
        args, kwargs = call.given(tensors, sizes)
        leaves, call.output = pytree.tree_flatten(call.forward(*args, **kwargs))
        if any(isinstance(leaf, torch.SymInt | torch.SymFloat) for leaf in leaves):
            raise TypeError(f"{call.name} returns a size")
        call.returned = [TENSOR if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        # An operator must not return what it takes.
        return [leaf.clone() for leaf in leaves if isinstance(leaf, torch.Tensor)]

    library = torch.library.Library("early_exit", "FRAGMENT")
    library.define("module(int number, Tensor[] tensors, SymInt[] sizes) -> Tensor[]")
    library.impl("module", run, "CompositeExplicitAutograd")
    torch.library.register_fake("early_exit::module", run, lib=library)
    # It ends with the library.
    run.library = library
    return torch.ops.early_exit.module


class _Calls:
    """Calls of a backbone's modules while it is exported."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []

    @contextmanager
    def recorded(self, backbone: nn.Module, after: Sequence[str]) -> Iterator[None]:
        """Let the modules between cuts be operators within the block."""
        replaced: list[tuple[nn.Module, Any]] = []
        _recorded.clear()
        try:
            for name, module in _leaves(backbone, after):
                replaced.append((module, module.__dict__.get("forward")))
                module.forward = self._forward(name, module.forward)
            yield
        finally:
            for module, own in reversed(replaced):
                del module.forward
                if own is not None:
                    module.forward = own
            self.calls = list(_recorded)
            _recorded.clear()

    @staticmethod
    def _forward(name: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        module = _operator()

        def called(*args: Any, **kwargs: Any) -> Any:
            leaves, arguments = pytree.tree_flatten((args, kwargs))
            tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
            sizes = [leaf for leaf in leaves if isinstance(leaf, torch.SymInt)]
            call = _Call(name, forward, [_marked(leaf) for leaf in leaves], arguments)
            _recorded.append(call)
            found = iter(module(len(_recorded) - 1, tensors, sizes))
            returned = [next(found) if leaf is TENSOR else leaf for leaf in call.returned]
            return pytree.tree_unflatten(returned, call.output)

        return called

    def restored(self, exported: fx.Graph, example: Example) -> fx.Graph:
        """The exported graph with one placeholder, and modules in place of the operators."""
        graph = fx.Graph()
        given = iter(_given(graph, example)[1])
        copies: dict[fx.Node, Any] = {}
        for node in exported.nodes:
            if node.op == "placeholder":
                copies[node] = next(given)
            elif node.op == "output":
                (result,) = pytree.tree_leaves(node.args)
                graph.output(copies[result])
            elif node.target is torch.ops.early_exit.module.default:
                copies[node] = self._call(graph, node, copies)
            elif node.target is operator.getitem and isinstance(copies[node.args[0]], list):
                copies[node] = copies[node.args[0]][node.args[1]]
            else:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        return graph

    def _call(self, graph: fx.Graph, node: fx.Node, copies: dict[fx.Node, Any]) -> list[fx.Node]:
        """The tensors that a call of a module returns."""
        number, tensors, sizes = fx.node.map_arg(node.args, copies.__getitem__)
        call = self.calls[number]
        args, kwargs = call.given(tensors, sizes)
        _check_plain((args, kwargs), call.name)
        made = graph.call_module(call.name, args, kwargs)
        if call.output.is_leaf():
            return [made]
        places = [place for place, leaf in enumerate(call.returned) if leaf is TENSOR]
        return [graph.call_function(picked, (made, place)) for place in places]


def picked(structure: Any, place: int) -> torch.Tensor:
    """A tensor among all values of a nested structure."""
    return pytree.tree_leaves(structure)[place]


def _check_plain(argument: Any, name: str) -> None:
    """Refuse arguments of a module that torch.fx cannot write into a graph."""
    if argument is None or isinstance(argument, (fx.Node, *PLAIN)):
        return
    if type(argument) in (tuple, list, dict):
        for part in argument.values() if isinstance(argument, dict) else argument:
            _check_plain(part, name)
        return
    raise TypeError(f"{name} takes a {type(argument).__name__}")


def _leaves(
    module: nn.Module, after: Sequence[str], prefix: str = "", seen: set[int] | None = None
) -> Iterator[tuple[str, nn.Module]]:
    """Modules that contain no end and lie in none that doesn't, each once."""
    seen = set() if seen is None else seen
    for child_name, child in module.named_children():
        name = f"{prefix}{child_name}"
        if id(child) in seen:
            continue
        seen.add(id(child))
        if inside(name, after) or isinstance(child, LISTS):
            yield from _leaves(child, after, f"{name}.", seen)
        else:
            yield name, child


def _clean(graph: fx.Graph, backbone: nn.Module) -> fx.Graph:
    """Remove unused nodes, such as assertions or auxiliary classifiers; they belong to no part."""
    attributes: dict[str, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op != "get_attr":
            continue
        first = attributes.setdefault(node.target, node)
        if first is not node:
            node.replace_all_uses_with(first)
    for node in reversed(graph.nodes):
        node.meta = {}
        dead = not node.users and node.op not in ("placeholder", "output")
        # A head may take a mask which the backbone does not use.
        given = any(one.op == "placeholder" for one in node.all_input_nodes)
        if dead and not given and not in_place(node, backbone):
            graph.erase_node(node)
    order = {node: place for place, node in enumerate(graph.nodes)}
    for node in attributes.values():
        if node.users:
            # Where it is used first: a stage then has its own parameters.
            min(node.users, key=order.__getitem__).prepend(node)
    return graph


def in_place(node: fx.Node, backbone: nn.Module) -> bool:
    """Whether a node changes its input, which other nodes use even if its result is unused."""
    if node.op == "call_module":
        parts = backbone.get_submodule(node.target).modules()
        return any(getattr(part, "inplace", False) for part in parts)
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.is_mutable
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    own = name.endswith("_") and not name.endswith("__")
    return own or bool(node.kwargs.get("inplace")) or "out" in node.kwargs
