"""Quantized parts hand integers on, and compute what they did in fp32."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnx
import onnxruntime

from early_exit.inference.graphs import export_graphs
from early_exit.inference.handover import hand_over_integers
from early_exit.inference.quantization import _quantize_part
from early_exit.networks import MultiExitNetwork
from helpers import random_images

UINT8, FLOAT = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT


class Parts(MultiExitNetwork):
    """Two stages of convolutions; what the first returns is rounded to integers in int8."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        blocks = [nn.Sequential(nn.Conv2d(a, b, 1), nn.ReLU()) for a, b in ((3, 8), (8, 8))]
        self.stages = nn.ModuleList(blocks)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)) for _ in "ab"
        )


class Pass(nn.Module):
    """A stage that adds to what it takes, which it uses twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return x + torch.relu(self.conv(x))


@pytest.fixture(params=["plain", "residual"])
def parts(request, tmp_path):
    """Files of the stages and heads in fp32 and in int8, and what the network takes."""
    network = Parts().eval()
    if request.param == "residual":
        network.stages[1] = Pass().eval()
    images = random_images(40, seed=1).float() / 255
    names = export_graphs(network, (3, 2, 2), tmp_path / "fp32")
    (tmp_path / "int8").mkdir()
    features = [images]
    with torch.inference_mode():
        for stage in network.stages:
            features.append(stage(features[-1]))
    taken = {"stages": features, "heads": features[1:]}
    for kind, given in taken.items():
        for name, one in zip(names[kind], given, strict=False):
            target = tmp_path / "int8" / name.rpartition("/")[2]
            _quantize_part(tmp_path / name, target, [[one]], kind == "heads")
    return tmp_path, images


def files(folder):
    return [[folder / f"{kind}_{k}.onnx" for k in (1, 2)] for kind in ("stage", "head")]


def run(stages, heads, images):
    """Logits of each exit, and the types of what the stages return."""
    features, found, types = images.numpy(), [], []
    for stage, head in zip(stages, heads, strict=True):
        features = onnxruntime.InferenceSession(str(stage)).run(None, {"input": features})[0]
        types.append(features.dtype)
        found.append(onnxruntime.InferenceSession(str(head)).run(None, {"input": features})[0])
    return np.stack(found), types


def test_the_same_logits_of_integers(parts):
    folder, images = parts
    own = files(folder / "int8")
    before, types = run(*own, images)
    assert set(types) == {np.dtype(np.float32)}
    hand_over_integers(*own)
    after, types = run(*own, images)
    assert set(types) == {np.dtype(np.uint8)}
    # Ranges of what a stage returns and of what the next takes are of the same samples, rounded.
    np.testing.assert_allclose(after, before, atol=0.02 * np.abs(before).max())
    exact, _ = run(*files(folder / "fp32"), images)
    np.testing.assert_allclose(after, exact, atol=0.05 * np.abs(exact).max())


def test_nothing_is_rounded_twice(parts):
    """The next stage and the head make no integers of what they took as such."""
    folder, _ = parts
    own = files(folder / "int8")
    hand_over_integers(*own)
    for path in (own[0][1], own[1][0]):
        graph = onnx.load(path).graph
        (given,) = graph.input
        assert given.type.tensor_type.elem_type == UINT8
        (first,) = (node for node in graph.node if given.name in node.input)
        assert first.op_type == "DequantizeLinear"
        takers = [node.op_type for node in graph.node if first.output[0] in node.input]
        assert takers
        assert "QuantizeLinear" not in takers


def test_a_part_in_fp32_takes_integers_and_returns_numbers(parts):
    """Parts that lose too much stay in fp32, before or behind others that do not."""
    folder, images = parts
    stages, heads = files(folder / "int8")
    exact_stages, exact_heads = files(folder / "fp32")
    shutil.copytree(folder / "fp32", folder / "kept")
    before = files(folder / "kept")
    mixed = [[stages[0], exact_stages[1]], [exact_heads[0], heads[1]]]
    hand_over_integers(*mixed)
    found, types = run(*mixed, images)
    assert types == [np.uint8, np.float32]
    exact, _ = run(*before, images)
    np.testing.assert_allclose(found, exact, atol=0.05 * np.abs(exact).max())
    assert onnx.load(exact_heads[0]).graph.output[0].type.tensor_type.elem_type == FLOAT


def test_parts_in_fp32_stay_as_they_are(parts):
    folder, _ = parts
    own = files(folder / "fp32")
    before = [path.read_bytes() for kind in own for path in kind]
    hand_over_integers(*own)
    assert [path.read_bytes() for kind in own for path in kind] == before
