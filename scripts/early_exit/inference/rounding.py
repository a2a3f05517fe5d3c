"""Weights of convolutions rounded to integers so that errors cancel: without data, at no cost.

Rounded to the nearest, the weights of a kernel may all go the same way. What is much the same at
all of its positions, such as the brightness of an image, then shifts a channel by the sum of the
errors. Some weights rounded the other way keep the sum (Guo et al. 2022, SQuant, section 3: by
kernels, then by channels).
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

# Weights are from -LARGEST to LARGEST of 8 bits.
LARGEST = 127


def with_balanced_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the weights of its convolutions as a quantizer then keeps them."""
    taken = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    for tensor in model.graph.initializer:
        if tensor.name in taken:
            own = balanced(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(own, tensor.name))
    return model


def balanced(weights: np.ndarray) -> np.ndarray:
    """Weights that are multiples of each output channel's largest weight over 127.

    Parameters
    ----------
    weights
        Shape (output channels, input channels, positions...).

    Returns
    -------
    numpy.ndarray
        Of that shape. Over each output channel their sum differs from that of ``weights`` by half a
        multiple at most, over most kernels, too; by more where too many weights are as large as the
        largest, which stay.
    """
    outputs = len(weights)
    exact = weights.reshape(outputs, -1).astype(np.float64)
    scale = np.abs(exact).max(axis=1, keepdims=True) / LARGEST
    scale[scale == 0] = 1
    exact = exact / scale
    found = np.rint(exact)
    kernels = weights.shape[1]
    for groups in (outputs * kernels, outputs):
        found = _cancelled(exact.reshape(groups, -1), found.reshape(groups, -1))
    found = found.reshape(exact.shape) * scale
    return found.reshape(weights.shape).astype(weights.dtype)


def _cancelled(exact: np.ndarray, rounded: np.ndarray) -> np.ndarray:
    """The rounded numbers, in each row as many moved by 1 as brings its sum next to the exact one.

    Those that are furthest from where they were rounded to.
    """
    errors = exact - rounded
    surplus = np.rint(errors.sum(axis=1, keepdims=True))
    towards = np.sign(surplus)
    gain = errors * towards
    # Another largest weight would be another scale.
    gain[np.abs(rounded) >= LARGEST] = -np.inf
    place = np.argsort(np.argsort(-gain, axis=1, kind="stable"), axis=1, kind="stable")
    moved = (place < np.abs(surplus)) & (gain > 0)
    return rounded + towards * moved
