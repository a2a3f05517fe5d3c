"""Weights are rounded so that their errors cancel, and quantized graphs have them so."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torch import nn

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnx
from onnx import numpy_helper

from early_exit.inference.graphs import export_graphs
from early_exit.inference.quantization import _quantize_part
from early_exit.inference.rounding import LARGEST, balanced
from early_exit.networks import MultiExitNetwork

WEIGHTS = arrays(
    np.float32,
    array_shapes(min_dims=3, max_dims=4, min_side=1, max_side=5),
    elements=st.floats(-2, 2, width=32),
)
# Dark, with some bright pixels.
IMAGES = torch.rand(50, 3, 6, 6, generator=torch.Generator().manual_seed(0)) ** 8


def in_multiples(weights, found):
    """Weights and what they were rounded to, in multiples, shape (outputs, inputs, positions)."""
    scale = np.abs(weights).reshape(len(weights), -1).max(axis=1) / LARGEST
    scale = np.where(scale == 0, 1, scale).reshape(-1, 1, 1)
    shape = (*weights.shape[:2], -1)
    return weights.reshape(shape) / scale, found.reshape(shape) / scale


def test_a_kernel_keeps_its_sum():
    """By hand: eight weights of 0.3 and one of 127; to the nearest, 2.4 of 129.4 would be lost."""
    kernel = np.full(9, 0.3, np.float32)
    kernel[4] = 127
    found = balanced(kernel.reshape(1, 1, 3, 3)).ravel()
    assert found[4] == 127
    assert sorted(found) == [0] * 6 + [1] * 2 + [127]


def test_kernels_of_one_weight_keep_the_sum_of_a_channel():
    """By hand: 0.4 in each of five input channels is 2 in all."""
    weights = np.array([127, 0.4, 0.4, 0.4, 0.4, 0.4], np.float32).reshape(1, 6, 1, 1)
    found = balanced(weights).ravel()
    assert found[0] == 127
    assert found.sum() == 129


@given(WEIGHTS)
def test_sums_are_next_to_the_exact_ones(weights):
    exact, found = in_multiples(weights.astype(float), balanced(weights).astype(float))
    np.testing.assert_allclose(found, np.rint(found), atol=1e-3)
    assert np.abs(found).max() <= LARGEST + 1e-3
    # To one of the two next to it, or, for the sake of a channel, the one beyond.
    assert np.abs(found - exact).max() <= 1.5
    largest = np.abs(exact) > LARGEST - 0.5
    np.testing.assert_allclose(found[largest], np.rint(exact[largest]), atol=1e-3)
    errors = np.where(largest, 0, found - exact)
    # Half of one by channel; of a kernel, one more, with what could not be moved.
    assert np.abs(errors.sum(axis=(1, 2))).max() <= 0.51 + 0.5 * largest.sum()
    assert np.abs(errors.sum(axis=2)).max() <= 1.51 + 0.5 * largest.sum()


class Small(MultiExitNetwork):
    """A convolution, and a head with a mean of all positions, which is far below the largest."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        stage = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
        self.stages, self.heads = nn.ModuleList([stage]), nn.ModuleList([head])


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """The network, and graphs of a stage and a head in int8."""
    network, folder = Small().eval(), tmp_path_factory.mktemp("graphs")
    export_graphs(network, (3, 6, 6), folder)
    found = []
    for name, given_to, is_head in (
        ("stage_1.onnx", IMAGES, False),
        ("head_1.onnx", network.stages[0](IMAGES).detach(), True),
    ):
        _quantize_part(folder / name, folder / f"int8_{name}", [[given_to]], is_head)
        found.append(onnx.load(folder / f"int8_{name}"))
    return network, *found


def test_a_quantized_convolution_has_balanced_weights(quantized):
    network, stage, _ = quantized
    (own,) = (one for one in stage.graph.initializer if one.name.endswith("weight_quantized"))
    exact, expected = in_multiples(
        *(f(network.stages[0][0].weight.detach().numpy()) for f in (np.array, balanced))
    )
    found = numpy_helper.to_array(own).reshape(exact.shape)
    np.testing.assert_array_equal(found, np.rint(expected))
    assert (found != np.rint(exact)).any()


def test_a_mean_has_a_scale_of_its_own(quantized):
    network, _, head = quantized
    constants = {one.name: numpy_helper.to_array(one) for one in head.graph.initializer}
    scales = [
        float(constants[node.input[1]])
        for node in head.graph.node
        if node.op_type == "QuantizeLinear"
    ]
    features = network.stages[0](IMAGES).detach()
    largest = features.mean(dim=(2, 3)).max().item()
    assert scales == pytest.approx([largest / 255] * len(scales), rel=1e-4)
    assert largest < features.max().item() / 2
