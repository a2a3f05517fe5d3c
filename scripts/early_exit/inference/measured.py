"""Operators of ONNX that measure how sure an exit is, for graphs that decide or help to decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from early_exit.inference.backends.fused import HEAD_PREFIX
from early_exit.inference.decisions import Decisions
from early_exit.records.uncertainty.measures import CONFIDENCE

# What a graph returns in place of what its head returns, with the type of each number.
MEASURED = (("prediction", TensorProto.INT64), ("uncertainty", TensorProto.FLOAT))


def measured(model: onnx.ModelProto, policy: Decisions, k: int) -> onnx.ModelProto:
    """A graph of stages and the head of exit ``k`` (from 0) that returns what is decided by.

    In place of logits and confidence it returns predictions (N,) and uncertainties (N,); changed in
    place. The features that it returns before these stay.

    Parameters
    ----------
    model
        As :func:`early_exit.inference.backends.fused.fused` makes it.
    policy
        By a measure in :data:`early_exit.inference.decisions.MEASURES`.
    """
    graph = model.graph
    own = [one.name for one in graph.output if one.name.startswith(HEAD_PREFIX)]
    make = Maker(graph.node, graph.initializer, count())
    own[0] = two_logits(make, graph, own[0])
    found = make("ArgMax", [own[0]], axis=1, keepdims=0), uncertainty(make, policy, k, *own)
    kept = [one for one in graph.output if not one.name.startswith(HEAD_PREFIX)]
    del graph.output[:]
    graph.output.extend(kept)
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for name, (output, kind) in zip(found, MEASURED, strict=True):
        graph.node.append(helper.make_node("Identity", [name], [output]))
        graph.output.append(helper.make_tensor_value_info(output, kind, [batch]))
    return model


def uncertainty(make: Maker, policy: Decisions, k: int, logits: str, confidence: str = "") -> str:
    """Name of the uncertainties (N,) at exit ``k`` (from 0)."""
    if policy.measure == CONFIDENCE and confidence:
        flat = make("Reshape", [confidence, make.constant(np.array([-1], np.int64))])
        return make("Sub", [make.constant(np.float32(1)), flat])
    scales = policy.temperatures
    if scales is not None:
        logits = make("Div", [logits, make.constant(np.float32(scales[k]))])
    shares = make("Softmax", [logits], axis=-1)
    if policy.measure == "entropy":
        # 0 ln 0 is 0.
        least = make.constant(np.finfo(np.float32).tiny)
        log = make("Log", [make("Max", [shares, least])])
        product = make("Mul", [shares, log])
        axis = make.constant(np.array([1], np.int64))
        return make("Neg", [make("ReduceSum", [product, axis], keepdims=0)])
    one = make.constant(np.float32(1))
    if policy.measure == "margin":
        two = make.constant(np.array([2], np.int64))
        largest, _ = make("TopK", [shares, two], outputs=2, axis=1)
        ends = [make.constant(np.array(place, np.int64)) for place in (0, 1)]
        first, second = (make("Gather", [largest, end], axis=1) for end in ends)
        return make("Add", [make("Sub", [second, first]), one])
    axis = make.constant(np.array([1], np.int64))
    return make("Sub", [one, make("ReduceMax", [shares, axis], keepdims=0)])


def two_logits(make: Maker, graph: onnx.GraphProto, logits: str) -> str:
    """One logit of a binary classifier is that of the class 1; the other is 0."""
    (own,) = (one for one in graph.output if one.name == logits)
    if own.type.tensor_type.shape.dim[1].dim_value != 1:
        return logits
    return make("Pad", [logits, make.constant(np.array([0, 1, 0, 0], np.int64))])


class Maker:
    """Appends nodes and constants with names of their own."""

    def __init__(self, nodes: list, weights: list, numbers: Iterator[int]) -> None:
        self.nodes, self.weights, self.numbers = nodes, weights, numbers

    def __call__(self, kind: str, given: Sequence[str], outputs: int = 1, **attributes: Any) -> Any:
        """Append a node; returns the name of what it returns, or the names."""
        names = [f"own{next(self.numbers)}" for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, given, names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, value: Any) -> str:
        """The name of a constant."""
        name = f"own{next(self.numbers)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name
