"""What quantized parts hand on in int8: a quarter of the memory, and nothing is converted twice.

A quantizer works on one graph, so each part of a network takes and returns numbers in fp32, which a
stage has just made of its integers and the next makes into the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from early_exit.inference.backends.tensors import positions_of

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
SCALES = ("_handed_scale", "_handed_zero")


def hand_over_integers(stages: Sequence[Path], heads: Sequence[Path]) -> None:
    """Change the files of parts so that a stage returns integers where it computed them.

    The head of its exit and the next stage take them and note what they stand for.

    Parameters
    ----------
    stages, heads
        ONNX files, in order, of which any may be quantized.
    """
    for k, path in enumerate(stages):
        stage = onnx.load(path, load_external_data=False)
        known = {one.name: one for one in stage.graph.initializer}
        # By position among the outputs.
        found: dict[int, tuple[onnx.TensorProto, onnx.TensorProto]] = {}
        for position, output in enumerate(stage.graph.output):
            own = _integers(stage.graph, output.name, known)
            if own is not None:
                found[position] = own
        if not found:
            continue
        onnx.save(stage, path)
        for taker in (heads[k], *stages[k + 1 : k + 2]):
            model = onnx.load(taker, load_external_data=False)
            _take(model.graph, found)
            onnx.save(model, taker)


def _integers(
    graph: onnx.GraphProto, name: str, known: dict[str, onnx.TensorProto]
) -> tuple[onnx.TensorProto, onnx.TensorProto] | None:
    """Return the integers behind an output instead; their scale and zero point, if there are any.

    Only where one scale is for all of them.
    """
    last = next((node for node in graph.node if name in node.output), None)
    if last is None or last.op_type != DEQUANTIZE or len(last.input) != 3:
        return None
    scale, zero = (known.get(one) for one in last.input[1:])
    if scale is None or zero is None or scale.dims or zero.data_type != TensorProto.UINT8:
        return None
    made = next((node for node in graph.node if last.input[0] in node.output), None)
    if made is None or made.op_type != QUANTIZE:
        return None
    integers, real = made.output[0], f"{name}_real"
    made.output[0], last.output[0] = name, real
    # Whoever took the output takes its real numbers.
    _rename_inputs(graph, name, real)
    _rename_inputs(graph, integers, name)
    if not any(real in node.input for node in graph.node):
        graph.node.remove(last)
    output = next(one for one in graph.output if one.name == name)
    output.type.tensor_type.elem_type = TensorProto.UINT8
    return scale, zero


def _take(
    graph: onnx.GraphProto, given: dict[int, tuple[onnx.TensorProto, onnx.TensorProto]]
) -> None:
    """Take integers for the inputs at these positions."""
    for one in graph.input:
        (position,) = positions_of([one.name])
        if position not in given:
            continue
        name, real = one.name, f"{one.name}_real"
        constants = [f"{name}{ending}" for ending in SCALES]
        _rename_inputs(graph, name, real)
        _skip_rounding(graph, real)
        for tensor, constant in zip(given[position], constants, strict=True):
            own = numpy_helper.from_array(numpy_helper.to_array(tensor), constant)
            graph.initializer.append(own)
        graph.node.insert(0, helper.make_node(DEQUANTIZE, [name, *constants], [real]))
        one.type.tensor_type.elem_type = TensorProto.UINT8


def _rename_inputs(graph: onnx.GraphProto, before: str, after: str) -> None:
    for node in graph.node:
        for place, taken in enumerate(node.input):
            if taken == before:
                node.input[place] = after


def _skip_rounding(graph: onnx.GraphProto, real: str) -> None:
    """Remove what rounds real numbers that stand for integers to integers again."""
    for first in [node for node in graph.node if node.op_type == QUANTIZE]:
        takers = [node for node in graph.node if first.output[0] in node.input]
        if first.input[0] != real or any(node.op_type != DEQUANTIZE for node in takers):
            continue
        for second in takers:
            _rename_inputs(graph, second.output[0], real)
            graph.node.remove(second)
        graph.node.remove(first)
