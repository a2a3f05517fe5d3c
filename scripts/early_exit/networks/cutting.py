"""Cuts of a traced backbone: what each part computes, and what it hands on to the next.

A value that is used after a later cut is carried along: a stage then hands on a dict of its
features and of the values carried. Numbers, such as sizes, are computed anew from the number of
samples.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from early_exit.errors import InputError
from early_exit.networks.example import Example, handed_in
from early_exit.networks.naming import ends_in
from early_exit.networks.small_heads import FEATURES
from early_exit.networks.tracing import Traced, picked
from early_exit.networks.values import (
    MANY,
    MORE,
    Measured,
    Shape,
    has_sizes,
    has_tensors,
    splits,
)

ADVICE = "cut after other modules"
# Methods, attributes and functions of tensors that do not depend on what is in them.
OF_TENSORS = {
    "device",
    "dim",
    "dtype",
    "ndim",
    "ndimension",
    "numel",
    "shape",
    "size",
    torch.ops.aten.sym_numel.default,
    torch.ops.aten.sym_size.int,
}


@dataclass
class Cutting:
    """A traced backbone with its ends of stages.

    Attributes
    ----------
    after
        Names of the modules after which stages end, in the order in which they run.
    groups
        Nodes of each stage and, last, of the backbone's own head.
    values
        What each node gave for two and for three samples: a shape in place of each tensor.
    """

    backbone: nn.Module
    traced: Traced
    example: Example
    after: list[str] = field(init=False)
    ends: list[fx.Node] = field(init=False)
    groups: list[list[fx.Node]] = field(init=False)
    values: dict[fx.Node, tuple[Any, Any]] = field(init=False)

    @classmethod
    def at(
        cls,
        names: dict[str, list[str]],
        backbone: nn.Module,
        traced: Traced,
        example: Example,
    ) -> Cutting:
        """A backbone cut after the modules of :func:`early_exit.networks.naming.names_after`.

        Running the graph may raise any error.

        Raises
        ------
        InputError
            If it cannot be cut there.
        """
        self = cls(backbone, traced, example)
        self.ends = ends_in(traced.graph, names, backbone)
        self.after = [end.target for end in self.ends]
        self._measure()
        for end in self.ends:
            _work_out_of_place(list(end.users), backbone)
        self.groups = self._grouped()
        _check_not_shared(self.groups, backbone)
        return self

    def _measure(self) -> None:
        """Run the graph for two batches, and let features be the first tensor of several."""
        graph, runs = self.traced.graph, []
        module = _module(self.backbone, self.traced, graph).eval()
        for count in (MANY, MORE):
            with torch.no_grad():
                run = Measured(module, self.ends)
                run.run(self.example.batch(count))
            runs.append(run)
        self.values = {node: tuple(run.found[node] for run in runs) for node in runs[0].found}
        for number, end in enumerate(self.ends):
            if isinstance(self.values[end][0], Shape):
                continue
            if runs[0].first[end] is None:
                raise InputError(f"with_exits: after: {end.target} returns no tensor", ADVICE)
            leaves = pytree.tree_leaves(self.values[end][0])
            place = next(place for place, leaf in enumerate(leaves) if isinstance(leaf, Shape))
            with graph.inserting_after(end):
                features = graph.call_function(picked, (end, place))
            self.values[features] = tuple(
                pytree.tree_leaves(value)[place] for value in self.values[end]
            )
            for node in [node for node, own in runs[0].same.items() if own is end]:
                node.replace_all_uses_with(features)
                graph.erase_node(node)
            self.ends[number] = features

    def _grouped(self) -> list[list[fx.Node]]:
        """Nodes of each stage and, last, of the backbone's own head."""
        groups: list[list[fx.Node]] = [[]]
        # The last group in which a value need not be handed on.
        until: dict[fx.Node, int] = {self.traced.placeholder: 0}
        for node in self.traced.graph.nodes:
            if node.op in ("output", "placeholder"):
                continue
            number = len(groups) - 1
            if self._is_of_sizes(node):
                # A size is taken where there is the tensor.
                number = max((until[one] for one in node.all_input_nodes), default=number)
            elif self._is_part(node):
                number = until[node.args[0]]
            groups[number].append(node)
            until[node] = number
            if node in self.ends:
                until[node] += 1
                groups.append([])
        if not groups[-1]:
            raise InputError(
                f"with_exits: nothing follows {self.after[-1]}; the last stage must end before the"
                " backbone's own classifier"
            )
        return groups

    def _is_part(self, node: fx.Node) -> bool:
        """Whether a node takes a part out of a structure of tensors."""
        if node.target not in (operator.getitem, picked) or not node.all_input_nodes:
            return False
        value = self.values[node.args[0]][0]
        return has_tensors(value) and not isinstance(value, Shape)

    def _is_of_sizes(self, node: fx.Node) -> bool:
        """Whether a value depends on the shapes of tensors and not on what is in them."""
        if has_tensors(self.values[node][0]):
            return False
        if not any(has_tensors(self.values[one][0]) for one in node.all_input_nodes):
            return True
        what = node.args[1] if node.target is getattr else node.target
        return node.op != "call_module" and what in OF_TENSORS

    def parts(self, also: Sequence[str] = ()) -> list[fx.GraphModule]:
        """The K stages, and the backbone's own head.

        Parameters
        ----------
        also
            Names of inputs that every stage before an early exit hands on.
        """
        carried = self.carried(also)
        anew = self._computed_anew()
        fixed = self.traced.fixed or any(has_sizes(*self.values[node]) for node in anew)
        return [
            self._part(number, carried, self.example.shapes if fixed and not number else None)
            for number in range(len(self.groups))
        ]

    def _users(self) -> Iterator[tuple[fx.Node, int, fx.Node, int]]:
        """Values that are used in a later group: the value, its group, the user and its group."""
        made = {node: number for number, nodes in enumerate(self.groups) for node in nodes}
        made[self.traced.placeholder] = 0
        made[self.traced.output] = len(self.groups) - 1
        for user, number in made.items():
            for node in user.all_input_nodes:
                if made[node] < number:
                    yield node, made[node], user, number

    def carried(self, also: Sequence[str]) -> list[dict[str, fx.Node]]:
        """Names and values that each cut carries besides the features; see :meth:`parts`."""
        carried: list[dict[fx.Node, str]] = [{} for _ in self.ends]
        for node, first, user, last in self._users():
            if not has_tensors(self.values[node][0]):
                continue
            for cut in range(first, last):
                if node is not self.ends[cut]:
                    self._check_carried(node, user, cut)
                    _work_out_of_place([user], self.backbone)
                    carried[cut][node] = _key(node)
        for node in self.groups[0]:
            if node.name in also:
                for cut in carried[:-1]:
                    cut[node] = _key(node)
        order = {node: place for place, node in enumerate(self.traced.graph.nodes)}
        return [
            {name: node for node, name in sorted(cut.items(), key=lambda one: order[one[0]])}
            for cut in carried
        ]

    def _check_carried(self, node: fx.Node, user: fx.Node, cut: int) -> None:
        """Refuse what cannot be handed on: samples must be along the first axis, or nowhere."""
        many, more = (pytree.tree_leaves(value) for value in self.values[node])
        problem = None
        if any(not isinstance(leaf, Shape) for leaf in many):
            problem = "which has numbers beside tensors"
        elif not all(map(splits, many, more)):
            problem = "whose first axis is not the samples"
        if problem:
            raise InputError(
                f"with_exits: {user.name} takes {node.name} past the exit after"
                f" {self.after[cut]}, {problem}",
                ADVICE,
            )

    def _computed_anew(self) -> list[fx.Node]:
        """Values without tensors that are used after a later cut.

        Raises
        ------
        InputError
            If one depends on what is in a tensor.
        """
        found = []
        for node, first, user, _ in self._users():
            if has_tensors(self.values[node][0]):
                continue
            made = [node]
            for one in made:
                if not self._is_of_sizes(one):
                    raise InputError(
                        f"with_exits: {user.name} takes {node.name}, a number that depends on the"
                        f" samples, past the exit after {self.after[first]}",
                        ADVICE,
                    )
                made += [
                    more
                    for more in one.all_input_nodes
                    if more not in made and not has_tensors(self.values[more][0])
                ]
            found.append(node)
        return found

    def _part(self, number: int, carried: list[dict[str, fx.Node]], shapes: Any) -> fx.GraphModule:
        """Module that computes a group of nodes from what the group before hands on."""
        graph = fx.Graph()
        copies: dict[fx.Node, Any] = {}
        if number == 0:
            inputs = self.traced.placeholder
            copies[inputs] = graph.placeholder(inputs.name)
            if shapes is not None:
                copies[inputs] = graph.call_function(handed_in, (copies[inputs], shapes))
            anchor = None if self.example.keys else copies[inputs]
        else:
            before, more = self.ends[number - 1], carried[number - 1]
            given = graph.placeholder("handed_on" if more else FEATURES)
            copies[before] = _item(graph, given, FEATURES) if more else given
            copies |= {node: _item(graph, given, name) for name, node in more.items()}
            anchor = copies[before]
        rest = _Rest(graph, anchor)
        for node in self.groups[number]:
            copy = graph.node_copy(node, lambda one: self._copied(one, copies, rest))
            copy.args, copy.kwargs = map(rest.on_its_device, (copy.args, copy.kwargs))
            # The first nodes take the tensors from the inputs.
            rest.anchor = rest.anchor or copy
            copies[node] = copy
        if number == len(self.ends):
            graph.output(self._copied(self.traced.output.args[0], copies, rest))
        elif carried[number]:
            more = {name: copies[node] for name, node in carried[number].items()}
            graph.output({FEATURES: copies[self.ends[number]], **more})
        else:
            graph.output(copies[self.ends[number]])
        return _module(self.backbone, self.traced, graph)

    def _copied(self, node: fx.Node, copies: dict[fx.Node, Any], rest: _Rest) -> Any:
        """The copy of a node in a part, or its value computed anew."""
        return copies[node] if node in copies else rest.anew(node, *self.values[node])


@dataclass
class _Rest:
    """What a part takes from the tensor it is given: the number of samples, and the device."""

    graph: fx.Graph
    anchor: fx.Node | None
    size: fx.Node | None = None
    device: fx.Node | None = None

    def anew(self, node: fx.Node, many: Any, more: Any) -> Any:
        """A value without tensors, from those for two and for three samples.

        Raises
        ------
        InputError
            If it is no multiple of the number of samples and differs otherwise.
        """
        if type(many) in (tuple, list):
            return type(many)(
                self.anew(node, one, other) for one, other in zip(many, more, strict=True)
            )
        if isinstance(many, torch.device):
            return self.on_its_device(many)
        if many == more:
            return many
        if type(many) is int and many % MANY == 0 and many // MANY * MORE == more:
            return self._times(many // MANY)
        raise InputError(
            f"with_exits: {node.name}, which is {many} for {MANY} samples and {more} for {MORE}, is"
            " used after a later cut",
            ADVICE,
        )

    def _times(self, factor: int) -> fx.Node:
        if self.size is None:
            with self.graph.inserting_after(self.anchor):
                self.size = self.graph.call_method("size", (self.anchor, 0))
        if factor == 1:
            return self.size
        with self.graph.inserting_after(self.size):
            return self.graph.call_function(operator.mul, (self.size, factor))

    def on_its_device(self, arguments: Any) -> Any:
        """Arguments with the device of the features in place of the example's."""

        def replaced(one: Any) -> Any:
            if not isinstance(one, torch.device):
                return one
            if self.device is None:
                with self.graph.inserting_after(self.anchor):
                    self.device = self.graph.call_function(getattr, (self.anchor, "device"))
            return self.device

        return fx.node.map_aggregate(arguments, replaced)


def _key(node: fx.Node) -> str:
    return f"{node.name}_" if node.name == FEATURES else node.name


def _item(graph: fx.Graph, given: fx.Node, name: str) -> fx.Node:
    return graph.call_function(operator.getitem, (given, name))


def _work_out_of_place(users: Sequence[fx.Node], backbone: nn.Module) -> None:
    """Make nodes work out of place: a head, or a later stage, takes the same value, too."""
    for user in users:
        if not user.users:
            # Other nodes use what it changes.
            continue
        if "inplace" in user.kwargs:
            user.kwargs = {**user.kwargs, "inplace": False}
        if user.op == "call_module":
            parts = backbone.get_submodule(user.target).modules()
            first = next(part for part in parts if not list(part.children()))
            if getattr(first, "inplace", False):
                first.inplace = False


def _check_not_shared(groups: list[list[fx.Node]], backbone: nn.Module) -> None:
    """Refuse a module with parameters that is called on both sides of a cut."""
    owner: dict[str, int] = {}
    for number, nodes in enumerate(groups):
        for node in nodes:
            if node.op != "call_module" or owner.setdefault(node.target, number) == number:
                continue
            module = backbone.get_submodule(node.target)
            if any(True for _ in (*module.parameters(), *module.buffers())):
                raise InputError(
                    f"with_exits: {node.target} is used on both sides of a cut", ADVICE
                )


def _module(backbone: nn.Module, traced: Traced, graph: fx.Graph) -> fx.GraphModule:
    """A graph with the backbone's modules and parameters, whose state has the same keys."""
    root: Any = backbone
    if traced.constants:
        names = [node.target for node in graph.nodes if node.op in ("call_module", "get_attr")]
        root = {
            name: traced.constants[name]
            if name in traced.constants
            else operator.attrgetter(name)(backbone)
            for name in names
        }
    module = fx.GraphModule(root, graph)
    module.graph.lint()
    kept = backbone.state_dict().keys()
    for node in graph.nodes:
        if node.op == "get_attr" and node.target not in kept:
            owner, _, name = node.target.rpartition(".")
            owner = module.get_submodule(owner)
            if name in owner._buffers:
                owner._non_persistent_buffers_set.add(name)
    return module
