"""Graphs run by OpenVINO, on the memory of torch's tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import openvino
import torch
from openvino import opset13 as operators

from early_exit.inference.backends.tensors import (
    DTYPES,
    FromNumbers,
    Sizes,
    first_batched,
    with_batch,
)

# Types of what is not quantized.
HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
# Operators that may change places with a max-pooling, or never do. What follows a ReLU may, too.
AFTER_POOLING = {
    *("Relu", "FakeQuantize", "Result"),
    *("Convolution", "GroupConvolution", "MaxPool", "AvgPool"),
}


class Graph:
    """A graph as a function of tensors, without copies of inputs, or of outputs of known shape.

    It is compiled for batches of any size, and again for batches of one, which are a third faster
    so.

    Parameters
    ----------
    model
        The ONNX file's content.
    precision
        ``fp32``, ``bf16``, or ``int8`` for a quantized graph, whose other operators are in fp32.
    threads
        Threads of the graph.
    in_a_row
        Ignored: all graphs share OpenVINO's threads.
    """

    def __init__(self, model: bytes, precision: str, threads: int, in_a_row: bool = False) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Threads bound to cores wait for whatever else runs there.
            "ENABLE_CPU_PINNING": False,
            "PERFORMANCE_HINT": "LATENCY",
        }
        graph = _pooled_first(_core().read_model(model))
        compiled = _core().compile_model(graph, "CPU", settings)
        self.chosen = FromNumbers([one.get_any_name() for one in compiled.inputs])
        shapes = [one.get_partial_shape() for one in compiled.inputs]
        # Position of an argument that has the batch.
        self.batched = first_batched([_is_batched(shape) for shape in shapes])
        self.any_size = self.one = compiled.create_infer_request()
        if self.batched is not None:
            graph.reshape(dict(enumerate(map(_of_one, shapes))))
            self.one = _core().compile_model(graph, "CPU", settings).create_infer_request()
        self.outputs = [
            (DTYPES[one.get_element_type().to_dtype()], _sizes(one.get_partial_shape()))
            for one in compiled.outputs
        ]

    def __call__(self, given: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Outputs of the graph for tensors in the order of the part's arguments."""
        # Named, so that the memory is there while the graph runs.
        arguments = [one.contiguous() for one in self.chosen(given)]
        count = None if self.batched is None else len(arguments[self.batched])
        request = self.one if count == 1 else self.any_size
        found = self._hand_over(request, arguments, count)
        request.infer()
        return [
            # The request writes to the same memory again.
            torch.from_numpy(request.get_output_tensor(number).data.copy()) if one is None else one
            for number, one in enumerate(found)
        ]

    def on_memory(self, given: Sequence[torch.Tensor]) -> Callable[[], list[torch.Tensor]]:
        """A call on what contiguous tensors hold by then; it returns the same tensors each time.

        Only for outputs whose shapes are known. Handing over memory takes as long as a small layer.
        """
        arguments = list(self.chosen(given))
        count = None if self.batched is None else len(arguments[self.batched])
        own = self.one if count == 1 else self.any_size
        request = own.get_compiled_model().create_infer_request()
        found = self._hand_over(request, arguments, count)

        def run(_memory: Sequence[torch.Tensor] = arguments) -> list[torch.Tensor]:
            request.infer()
            return found

        return run

    def _hand_over(
        self, request: openvino.InferRequest, arguments: Sequence[torch.Tensor], count: int | None
    ) -> list[torch.Tensor | None]:
        """Hand over memory of inputs, and of outputs of known shape, which are returned."""
        for number, one in enumerate(arguments):
            request.set_input_tensor(number, _shared(one))
        found: list[torch.Tensor | None] = []
        for number, (dtype, sizes) in enumerate(self.outputs):
            shape = with_batch(sizes, count)
            if shape is None:
                found.append(None)
                continue
            own = torch.empty(shape, dtype=dtype)
            request.set_output_tensor(number, _shared(own))
            found.append(own)
        return found


@cache
def _core() -> openvino.Core:
    return openvino.Core()


def _pooled_first(graph: openvino.Model) -> openvino.Model:
    """The graph, with what it computes of pooled numbers after the pooling.

    OpenVINO lets a convolution compute what follows the max-pooling of its output, before the
    pooling, which is wrong for what may fall where its input rises, such as GELU or HardSwish. A
    minimum with the largest number there is, which changes nothing, keeps them apart.
    """
    for node in graph.get_ops():
        if isinstance(node, openvino.op.if_op):
            _pooled_first(node.get_then_body())
            _pooled_first(node.get_else_body())
        if (
            node.get_type_name() != "MaxPool"
            or node.get_output_element_type(0) != openvino.Type.f32
        ):
            continue
        takers = node.output(0).get_target_inputs()
        if all(one.get_node().get_type_name() in AFTER_POOLING for one in takers):
            continue
        largest = operators.constant(np.float32(np.finfo(np.float32).max))
        own = operators.minimum(node.output(0), largest).output(0)
        for one in takers:
            one.replace_source_output(own)
    return graph


def _shared(one: torch.Tensor) -> openvino.Tensor:
    return openvino.Tensor(one.numpy(), shared_memory=True)


def _is_batched(shape: openvino.PartialShape) -> bool:
    """Whether the first axis is the batch, whose length is not known."""
    return bool(len(shape)) and shape[0].is_dynamic


def _of_one(shape: openvino.PartialShape) -> Any:
    """The shape for a batch of one."""
    found = openvino.PartialShape(list(shape))
    if _is_batched(shape):
        found[0] = 1
    return found


def _sizes(shape: openvino.PartialShape) -> Sizes:
    """Sizes of the axes, the batch as ``None``; or ``None`` if another one is not known."""
    if any(shape[axis].is_dynamic for axis in range(1, len(shape))):
        return None
    others = [shape[axis].get_length() for axis in range(1, len(shape))]
    first = [None if _is_batched(shape) else shape[0].get_length()] if len(shape) else []
    return (*first, *others)
