"""Examples of inputs as JSON, and what a network takes."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from early_exit.errors import InputError
from early_exit.structures.examples import decode, encode
from early_exit.structures.inputs import InputSpec

TYPES = st.sampled_from(["bool", "int8", "int32", "int64", "float32", "float64"])
ARRAYS = TYPES.flatmap(lambda kind: arrays.arrays(kind, st.tuples(st.just(2), st.integers(1, 4))))


@given(st.dictionaries(st.sampled_from(["a", "b", "mask"]), ARRAYS, min_size=1))
def test_examples_come_back_in_the_order_of_their_names(given_arrays):
    found = decode(json.loads(json.dumps(encode(given_arrays))))
    assert list(found) == sorted(given_arrays)
    for name, own in given_arrays.items():
        assert found[name].dtype == own.dtype
        np.testing.assert_array_equal(found[name], own)


def test_a_single_sample_is_repeated_and_later_ones_are_left_out():
    assert decode(encode(np.array([[1.5, 2.0]]))).tolist() == [[1.5, 2.0]] * 2
    assert decode(encode((np.arange(6),)))[0].tolist() == [0, 1]


@pytest.mark.parametrize(
    "described",
    [
        {"dtype": "O", "shape": [1], "examples": ""},
        {"dtype": "<f4", "shape": [10**9], "examples": ""},
        {"dtype": "<f4", "shape": [-1], "examples": ""},
        {"dtype": "<f4", "shape": [1], "examples": "no base64!"},
        {"shape": [1]},
        7,
    ],
)
def test_what_describes_no_arrays_is_refused(described):
    with pytest.raises(InputError, match="neither a shape of images nor examples"):
        InputSpec.read({"inputs": described})


def test_images_have_a_shape_and_other_inputs_examples():
    images = InputSpec.of([3, 4, 5])
    assert images.described() == {"shape": [3, 4, 5]}
    assert InputSpec.read(images.described()) == images
    assert images.batch(2).shape == images.stored(2).shape == (2, 3, 4, 5)
    assert images.stored(2).dtype == torch.uint8
    rows = InputSpec.of_samples({"x": torch.arange(12.0).view(3, 4)})
    assert rows.shapes == {"x": [4]}
    assert rows.batch(3)["x"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3]]
    again = InputSpec.read(rows.described())
    assert again == rows
    assert again != images
