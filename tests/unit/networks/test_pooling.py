"""Max-pooling: equal to torch's in every memory format, with and without gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from early_exit.networks.zoo.pooling import MaxPool


@settings(max_examples=50)
@given(
    shape=st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(2, 9), st.integers(2, 9)),
    memory_format=st.sampled_from([torch.channels_last, torch.contiguous_format]),
)
def test_it_equals_pooling_of_torch(shape, memory_format):
    features = torch.randn(shape).to(memory_format=memory_format)
    expected = nn.MaxPool2d(2)(features)
    with torch.inference_mode():
        assert torch.equal(MaxPool()(features), expected)
    assert torch.equal(MaxPool()(features), expected)


def test_by_hand():
    features = torch.tensor([[[[1.0, 5.0, 0.0, -1.0], [2.0, 3.0, -2.0, -3.0]]]] * 2)
    both = torch.cat([features, -features], dim=1).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        pooled = MaxPool()(both)
    assert pooled[0].tolist() == [[[5.0, 0.0]], [[-1.0, 3.0]]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_values(bad):
    features = torch.ones(1, 4, 4, 4).to(memory_format=torch.channels_last)
    features[0, 2, 1, 1] = bad
    with torch.inference_mode():
        assert torch.equal(
            MaxPool()(features).nan_to_num(7), nn.MaxPool2d(2)(features).nan_to_num(7)
        )


def test_gradients_equal_those_of_torch():
    # Of equal maxima torch assigns the gradient to the first.
    features = torch.zeros(1, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    MaxPool()(features).sum().backward()
    assert sorted(features.grad.flatten().tolist()) == [0.0] * 36 + [1.0] * 12


def test_channels_last_is_kept_and_takes_the_shortcut(monkeypatch):
    taken = []
    own = torch.maximum
    monkeypatch.setattr(torch, "maximum", lambda *both: taken.append(1) or own(*both))
    features = torch.randn(2, 3, 4, 6)
    with torch.inference_mode():
        MaxPool()(features)
        assert not taken
        pooled = MaxPool()(features.to(memory_format=torch.channels_last))
    assert taken
    assert pooled.is_contiguous(memory_format=torch.channels_last)
    MaxPool()(features.to(memory_format=torch.channels_last))
    assert len(taken) == 2
