"""Graphs are rewritten in faster operators and compute the same."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnx
import onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st

from early_exit.inference.rewriting import rewritten


class Pooled(nn.Module):
    """A block of this project: pooling, then normalisation and activation."""

    def __init__(self, scales, bias=False, activation=True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, len(scales), 3, padding=1, bias=bias)
        self.bn = nn.BatchNorm2d(len(scales))
        with torch.no_grad():
            self.bn.weight.copy_(torch.tensor(scales))
            self.bn.bias.uniform_(-1, 1)
            self.bn.running_mean.uniform_(-1, 1)
            self.bn.running_var.uniform_(0.1, 2)
        self.activation = nn.ReLU() if activation else nn.Identity()

    def forward(self, x):
        return self.activation(self.bn(nn.functional.max_pool2d(self.conv(x), 2)))


def exported(module, *shape):
    """Its graph as torch writes it, and an input."""
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    dynamic = ({0: torch.export.Dim("batch")},)
    program = torch.onnx.export(
        module.eval(), (x,), dynamo=True, dynamic_shapes=dynamic, verbose=False
    )
    return program.model_proto, x


def kinds(model):
    return [node.op_type for node in model.graph.node]


def outputs(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})


def check(module, *shape):
    """The rewritten graph, once it is seen to compute what the module does."""
    model, x = exported(module, *shape)
    found = rewritten(model)
    onnx.checker.check_model(found, full_check=True)
    with torch.inference_mode():
        expected = module(x)
    np.testing.assert_allclose(outputs(found, x)[0], expected, rtol=1e-4, atol=1e-5)
    return found


@settings(max_examples=5, deadline=None)
@given(st.lists(st.floats(0, 3, width=32), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_pooling_comes_last_and_normalisation_is_folded(scales, bias, activation):
    model = check(Pooled(scales, bias, activation), 2, 6, 6)
    assert kinds(model) == ["Conv", *(["Relu"] if activation else []), "MaxPool"]


def test_a_negative_scale_leaves_the_order():
    """The largest of the results is then the result of the smallest."""
    assert kinds(check(Pooled([1.0, -0.5]), 2, 6, 6)) == [
        *("Conv", "MaxPool", "BatchNormalization", "Relu")
    ]


def test_the_second_of_two_blocks_is_folded_too():
    both = nn.Sequential(Pooled([0.5, 2.0]), Pooled([1.0, 0.3, 0.7]))
    assert kinds(check(both, 2, 8, 8)) == ["Conv", "Relu", "MaxPool"] * 2


class Twice(nn.Module):
    """What is pooled is used twice, once without what follows."""

    def __init__(self) -> None:
        super().__init__()
        self.own = Pooled([0.5, 2.0])

    def forward(self, x):
        pooled = nn.functional.max_pool2d(self.own.conv(x), 2)
        return torch.relu(self.own.bn(pooled)) + pooled


def test_what_is_used_elsewhere_stays():
    counts = Counter(kinds(check(Twice(), 2, 6, 6)))
    assert counts["MaxPool"] == counts["BatchNormalization"] == 1


class Reduced(nn.Module):
    def __init__(self, reduction, axes, keepdim) -> None:
        super().__init__()
        self.reduction, self.axes, self.keepdim = reduction, axes, keepdim

    def forward(self, x):
        return getattr(x, self.reduction)(dim=self.axes, keepdim=self.keepdim)


@pytest.mark.parametrize(("reduction", "kind"), [("mean", "Average"), ("amax", "Max")])
@pytest.mark.parametrize(
    ("axes", "shape"), [((2, 3), (4, 5, 3)), ((-1, -2), (4, 5, 3)), ((2,), (4, 5))]
)
@pytest.mark.parametrize("keepdim", [True, False])
def test_a_reduction_of_all_positions_is_a_pooling(reduction, kind, axes, shape, keepdim):
    model = check(Reduced(reduction, axes, keepdim), *shape)
    assert kinds(model) == [f"{kind}Pool", *([] if keepdim else ["Flatten"])]


@pytest.mark.parametrize("axes", [(1,), (1, 2, 3), (3,), (2,)])
def test_other_axes_are_reduced_as_they_are(axes):
    assert kinds(check(Reduced("mean", axes, False), 4, 5, 3)) == ["ReduceMean"]
