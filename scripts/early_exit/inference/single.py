"""A policy and its network as one ONNX graph for a single sample, with an ``If`` at each exit.

Where a sample exits, the branch with all later stages is not run. The graph takes what the network
takes, images as uint8, and returns ``prediction``, ``exit`` (from 0) and ``uncertainty``, each of
shape (1,).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, compose, helper

from early_exit.errors import InputError
from early_exit.inference.backends.fused import HEAD_PREFIX, fused
from early_exit.inference.backends.tensors import positions_of
from early_exit.inference.decisions import MEASURES, Decisions
from early_exit.inference.measured import Maker, two_logits, uncertainty

FILE = "single.onnx"
IMAGE = "image"
# In the names of what a part's head returns.
HEAD = f"/{HEAD_PREFIX}"
OUTPUTS = (("prediction", np.int64), ("exit", np.int64), ("uncertainty", np.float32))
# What is done with which numbers of a normalisation.
NORMALISED = (("Sub", "mean"), ("Div", "std"))
REMEDY = "set export.single_graph to false"


class Parts(NamedTuple):
    """ONNX files of a network's stages and heads, which were checked, and whether it is a cascade.

    In a cascade heads take the logits of earlier exits.
    """

    stages: Sequence[Path]
    heads: Sequence[Path]
    is_cascade: bool

    @classmethod
    def of(cls, graphs: dict[str, Any], folder: Path) -> Parts:
        """Of names in ``folder``: :func:`early_exit.inference.graphs.export_graphs`."""
        stages, heads = ([folder / name for name in graphs[kind]] for kind in ("stages", "heads"))
        return cls(stages, heads, any(graphs.get("earlier", ())))


def single_graph(
    policy: Decisions,
    parts: Parts,
    normalisation: dict[str, Any] | None,
    names: Sequence[str] = (),
    thresholds: str | None = None,
) -> onnx.ModelProto:
    """The graph.

    Parameters
    ----------
    policy
        By a measure in :data:`MEASURES`.
    normalisation
        Of images, ``mean`` and ``std`` of each channel or ``None`` for none; ``None`` for inputs
        that are no images, which are taken as the first stage takes them.
    names
        Of inputs that are no images, in the order of the first stage's.
    thresholds
        Name of an input (K - 1,) for thresholds, in single precision; without it they are those of
        the policy.

    Raises
    ------
    InputError
        If the policy is by another criterion, the network a cascade, or its parts cannot be joined.
    """
    if policy.measure not in MEASURES:
        raise InputError(
            f"export: {FILE} has exits by {', '.join(MEASURES)}, and the policy is by"
            f" {policy.measure}",
            f"choose one of these as measure, or {REMEDY}",
        )
    if parts.is_cascade:
        raise InputError(
            f"export: {FILE} has no cascades, whose heads take logits of earlier exits", REMEDY
        )
    joined = [_part(parts, *own) for own in _spans(policy, thresholds is None)]
    return _Builder(policy, normalisation, names, thresholds).model(joined)


def _spans(policy: Decisions, fixed: bool) -> Iterator[tuple[int, int]]:
    """First and last stage, from 0, of what runs before each decision."""
    first = 0
    for last, run in enumerate(policy.runs):
        if not run:
            continue
        yield first, last
        if fixed and last < len(policy.thresholds) and policy.thresholds[last] == policy.always:
            # No sample goes on.
            return
        first = last + 1


def _part(parts: Parts, first: int, last: int) -> tuple[int, onnx.ModelProto]:
    """The exit, and its stages and head as one graph, all names with a prefix of their own."""
    is_final = last == len(parts.stages) - 1
    stages = parts.stages[first : last + 1]
    model = fused(stages, parts.heads[last], keep_features=not is_final)
    if model is None:
        raise InputError(
            f"export: stages {first + 1} to {last + 1} cannot be part of {FILE}: their graphs are"
            " of different versions of ONNX",
            REMEDY,
        )
    return last, compose.add_prefix(model, f"part{last}/")


class _Builder:
    """Makes the graph of a policy's parts."""

    def __init__(
        self,
        policy: Decisions,
        normalisation: dict[str, Any] | None,
        names: Sequence[str],
        thresholds: str | None,
    ) -> None:
        self.policy, self.normalisation, self.names = policy, normalisation, names
        self.thresholds = thresholds
        self.final = len(policy.runs) - 1
        self.numbers = count()

    def model(self, parts: list[tuple[int, onnx.ModelProto]]) -> onnx.ModelProto:
        """The whole, checked."""
        first = parts[0][1]
        inputs, nodes, constants = self._inputs(first)
        if self.thresholds is not None:
            kind, shape = TensorProto.FLOAT, [self.final]
            inputs.append(helper.make_tensor_value_info(self.thresholds, kind, shape))
        more, weights, names = self._from(parts)
        renamed = [
            helper.make_node("Identity", [own], [name])
            for own, (name, _) in zip(names, OUTPUTS, strict=True)
        ]
        graph = helper.make_graph(
            [*nodes, *more, *renamed],
            "early_exit",
            inputs,
            [_one(name, dtype) for name, dtype in OUTPUTS],
            [*constants, *weights],
        )
        domains = {one.domain: one.version for _, model in parts for one in model.opset_import}
        opsets = [helper.make_opsetid(name, version) for name, version in domains.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=first.ir_version)
        onnx.checker.check_model(model)
        return model

    def _inputs(
        self, first: onnx.ModelProto
    ) -> tuple[list[onnx.ValueInfoProto], list[onnx.NodeProto], list[onnx.TensorProto]]:
        """Inputs of the whole, what makes those of the first part of them, and constants."""
        taken = list(first.graph.input)
        if self.normalisation is not None:
            return self._image(taken[0])
        positions = positions_of([one.name.partition("/")[2] for one in taken])
        inputs = [_of_one(one, self.names[p]) for one, p in zip(taken, positions, strict=True)]
        pairs = zip(inputs, taken, strict=True)
        return inputs, [helper.make_node("Identity", [a.name], [b.name]) for a, b in pairs], []

    def _image(
        self, taken: onnx.ValueInfoProto
    ) -> tuple[list[onnx.ValueInfoProto], list[onnx.NodeProto], list[onnx.TensorProto]]:
        """As :meth:`_inputs`, of an image, which is scaled and normalised."""
        image = _of_one(taken, IMAGE)
        image.type.tensor_type.elem_type = TensorProto.UINT8
        nodes: list[onnx.NodeProto] = []
        constants: list[onnx.TensorProto] = []
        make = Maker(nodes, constants, self.numbers)
        last = make("Cast", [IMAGE], to=TensorProto.FLOAT)
        steps = (("Div", 255), *((k, self.normalisation.get(n)) for k, n in NORMALISED))
        for kind, own in steps:
            if own is not None:
                values = np.asarray(own, np.float32)
                values = values.reshape(1, -1, 1, 1) if values.ndim else values
                last = make(kind, [last, make.constant(values)])
        nodes.append(helper.make_node("Identity", [last], [taken.name]))
        return [image], nodes, constants

    def _from(
        self, parts: list[tuple[int, onnx.ModelProto]]
    ) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], list[str]]:
        """Nodes and weights from a part on, and the names of prediction, exit and uncertainty."""
        (k, model), *later = parts
        graph = model.graph
        own = [one.name for one in graph.output]
        heads_own = own if k == self.final else [name for name in own if HEAD in name]
        nodes, weights = list(graph.node), list(graph.initializer)
        make = Maker(nodes, weights, self.numbers)
        heads_own[0] = two_logits(make, graph, heads_own[0])
        unsure = uncertainty(make, self.policy, k, *heads_own)
        prediction = make("ArgMax", [heads_own[0]], axis=1, keepdims=0)
        taken = make.constant(np.array([k], np.int64))
        if not later:
            return nodes, weights, [prediction, make("Identity", [taken]), unsure]
        threshold = self._threshold(make, k)
        met = make("Less" if self.policy.below else "Greater", [unsure, threshold])
        here = self._branch(*self._stay([prediction, taken, unsure]))
        deeper = self._branch(*self._go_on(graph, later))
        own = make("If", [met], outputs=len(OUTPUTS), then_branch=here, else_branch=deeper)
        return nodes, weights, own

    def _threshold(self, make: Maker, k: int) -> str:
        """The threshold (1,) of an exit."""
        if self.thresholds is not None:
            return make("Gather", [self.thresholds, make.constant(np.array([k], np.int64))])
        return make.constant(np.array([self.policy.thresholds[k]], np.float32))

    def _stay(self, names: Sequence[str]) -> tuple[list, list, list[str]]:
        """A branch that hands on what is there."""
        own = [f"here{next(self.numbers)}" for _ in names]
        pairs = zip(names, own, strict=True)
        return [helper.make_node("Identity", [a], [b]) for a, b in pairs], [], own

    def _go_on(
        self, before: onnx.GraphProto, later: list[tuple[int, onnx.ModelProto]]
    ) -> tuple[list, list, list[str]]:
        """A branch with the later parts, on the features of the part before."""
        features = [one.name for one in before.output if HEAD not in one.name]
        taken = [one.name for one in later[0][1].graph.input]
        positions = positions_of([name.partition("/")[2] for name in taken])
        nodes, weights, names = self._from(later)
        handed = [
            helper.make_node("Identity", [features[position]], [name])
            for position, name in zip(positions, taken, strict=True)
        ]
        return [*handed, *nodes], weights, names

    def _branch(self, nodes: list, weights: list, names: list[str]) -> onnx.GraphProto:
        outputs = [_one(name, dtype) for name, (_, dtype) in zip(names, OUTPUTS, strict=True)]
        return helper.make_graph(nodes, f"branch{next(self.numbers)}", [], outputs, weights)


def _one(name: str, dtype: type) -> onnx.ValueInfoProto:
    """A value of shape (1,)."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, [1])


def _of_one(given: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    """A graph's input for a batch of one."""
    found = onnx.ValueInfoProto()
    found.CopyFrom(given)
    found.name = name
    for axis in found.type.tensor_type.shape.dim[:1]:
        if axis.dim_param or not axis.dim_value:
            axis.dim_value = 1
    return found
