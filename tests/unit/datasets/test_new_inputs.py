"""New samples as inputs: the structure, types and shapes that the network takes, or an error."""

import sys
import types

import numpy as np
import pytest
import torch

from early_exit.datasets.new import NewSamples, new_samples, read_arrays
from early_exit.errors import InputError
from early_exit.structures.examples import encode

EXPECTED = {"mask": np.zeros((2, 3), bool), "x": np.zeros((2, 3), np.float32)}
GOOD = {"x": [1, 2.5, 3], "mask": [True, False, True]}


def test_samples_are_stacked_in_the_types_expected():
    new = NewSamples(EXPECTED)
    found = new.inputs([GOOD, {"x": torch.ones(3), "mask": [0, 1, 1]}])
    assert found["x"].dtype == np.float32
    assert found["x"].tolist() == [[1, 2.5, 3], [1, 1, 1]]
    assert found["mask"].tolist() == [[True, False, True], [False, True, True]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [1, 2]}, r"shape \[2\], but the network takes \[3\]"),
        ({"x": [[1], [1, 2], 3]}, "no array of numbers|object"),
        ({"x": ["a", "b", "c"]}, "<U1 of"),
        ({"x": [1, 2, float("inf")]}, "NaN or infinite"),
        ({"x": [1, 2, 10**400]}, "object of"),
        ({"mask": [0, 1, 2]}, r"\['mask'\]: int64 of .* takes: bool of shape \[3\]"),
        ({"mask": [0.5, 1, 1]}, r"\['mask'\]: float32 of"),
        ({"y": [1]}, "must have the keys mask, x, and no others"),
        ({"x": None}, "shape"),
    ],
)
def test_samples_that_do_not_fit(change, message):
    with pytest.raises(InputError, match=message):
        NewSamples(EXPECTED).inputs([GOOD | change])


@pytest.mark.parametrize(
    ("prepared", "message"),
    [
        (np.ones((1, 3)), "prepare.raw.: 1 inputs from 2 raw samples"),
        (np.ones((2, 4)), r"float32 of shape \[4\] for a sample, but the network takes: .*\[3\]"),
        ({"a": np.ones((2, 3))}, r"prepare.raw.: \['a'\], but the network takes: a single array"),
        ([1, 2], "prepare.raw.: a list"),
    ],
)
def test_what_prepare_returns_is_checked(prepared, message):
    new = NewSamples(np.zeros((2, 3), np.float32), lambda raw: prepared)
    with pytest.raises(InputError, match=message):
        new.inputs(["a", "b"])


def test_integers_keep_their_values():
    new = NewSamples(np.zeros((2, 1), np.int32))
    assert new.inputs([[2**31 - 1]]).dtype == np.int32
    with pytest.raises(InputError, match="int64 of"):
        new.inputs([[2**31]])


def test_parts_of_a_tuple_have_numbers_in_a_file(tmp_path):
    np.savez(tmp_path / "a.npz", input_0=np.ones(2), input_1=np.zeros((2, 3)), labels=[0, 1])
    expected = (np.zeros(2), np.zeros((2, 3)))
    (first, second), labels = read_arrays(tmp_path / "a.npz", expected, False)
    assert (first.shape, second.shape, labels.tolist()) == ((2,), (2, 3), [0, 1])


def test_a_module_of_the_project_offers_the_same(monkeypatch):
    module = types.ModuleType("early_exit.datasets.sayings")
    module.TEXT = True
    module.prepare_new = lambda raw, manifest: np.array([[manifest["state"][one]] for one in raw])
    module.read_new = lambda path: path.upper()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("early_exit.datasets.new.find_spec", lambda name: True)
    inputs = encode(np.zeros((2, 1), np.int64))
    manifest = {"dataset": "sayings", "inputs": inputs, "state": {"a": 7, "b": 9}}
    new = new_samples(manifest, [], "manifest.json")
    assert new.text
    assert new.inputs(["b", "a"]).tolist() == [[9], [7]]
    assert new.read("x") == "X"


def test_data_sets_of_arrays_and_of_images_prepare_nothing():
    for manifest in ({"dataset": "npz", "inputs": encode(np.ones((2, 3)))}, {"shape": [3, 4, 5]}):
        new = new_samples(manifest, [], "manifest.json")
        assert (new.prepare, new.read, new.text) == (None, None, False)
    assert new.expected.shape == (2, 3, 4, 5)
    with pytest.raises(InputError, match=r"manifest\.json: describes no inputs"):
        new_samples({"dataset": "npz"}, [], "manifest.json")
