"""Walking structures of tensors: every kind of container, and tensors without a batch."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch

from early_exit.errors import InputError
from early_exit.structures.tree import (
    describe,
    flatten,
    map_batched,
    map_tensors,
    rows,
    tensors,
    unflatten,
    without_batch,
)


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@dataclass
class Kept:
    hidden: torch.Tensor
    note: str


def structure(count):
    one = torch.arange(float(count))[:, None]
    return {"list": [one, (one + 1, 3)], "pair": Pair(one + 2, one + 3), "kept": Kept(one + 4, "x")}


def test_every_kind_of_container_comes_back():
    leaves, spec = flatten(structure(2))
    again = unflatten(leaves, spec)
    assert isinstance(again["pair"], Pair)
    assert again["kept"].note == "x"
    assert again["list"][1][1] == 3
    assert [own[0, 0].item() for own in tensors(again)] == [0, 1, 2, 3, 4]
    doubled = map_tensors(lambda own: 2 * own, again)
    assert [own[1, 0].item() for own in tensors(doubled)] == [2, 4, 6, 8, 10]


def test_the_chosen_samples_of_inputs():
    inputs = {"a": torch.arange(3), "b": (torch.arange(6).view(3, 2),)}
    chosen = rows(inputs, torch.tensor([2, 0]))
    assert chosen["a"].tolist() == [2, 0]
    assert chosen["b"][0].tolist() == [[4, 5], [0, 1]]


def test_tensors_without_a_batch_are_found_and_stay_whole():
    table = torch.eye(2)
    one, other = ({"x": torch.zeros(n, 4), "t": table, "k": 5} for n in (2, 3))
    shared = without_batch(one, other, (2, 3), "stage 1")
    assert shared == {1}
    kept = map_batched(lambda own: own[:1], one, shared)
    assert (kept["x"].shape, kept["t"].shape, kept["k"]) == ((1, 4), (2, 2), 5)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ((torch.zeros(4, 2),), (torch.zeros(6, 2),), r"\(4, 2\) and \(6, 2\) for 2 and 3 samples"),
        ((torch.zeros(5),), (torch.ones(5),), "without a batch, whose values depend on the batch"),
        ((torch.zeros(2, 1),), [torch.zeros(3, 1)], "another structure for 2 samples than for 3"),
        ((torch.zeros(2, 4),), (torch.zeros(3, 5),), "the first axis must be the batch"),
    ],
)
def test_other_tensors_are_refused(one, other, message):
    with pytest.raises(InputError, match=message):
        without_batch(one, other, (2, 3), "stage 1")


def test_shapes_in_messages():
    assert describe(torch.zeros(2, 3, 4)) == "[3, 4]"
    assert (
        describe({"a": torch.zeros(2, 3), "b": (torch.zeros(2), 7)}) == "{'a': [3], 'b': ([], int)}"
    )
