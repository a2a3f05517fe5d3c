"""Pairs of backend and precision are checked by name; the remedy names one that there is."""

import itertools

import pytest

from configurations import SCHEMA
from early_exit.config.configuration import configure
from early_exit.config.runtimes import PAIRS, is_reference
from early_exit.errors import InputError

INFERENCE = SCHEMA["$defs"]["experiment"]["properties"]["inference"]["properties"]
PRECISIONS = INFERENCE["precision"]["enum"]


def configured(**inference):
    config = {"run": "one", "experiments": {"one": {"inference": inference}}}
    return configure(config, SCHEMA).experiment("one")["inference"]


def test_the_schema_knows_the_same_names():
    assert INFERENCE["backend"]["enum"] == list(PAIRS)
    assert {one for own in PAIRS.values() for one in own} == set(PRECISIONS)


@pytest.mark.parametrize(("backend", "precision"), list(itertools.product(PAIRS, PRECISIONS)))
def test_a_pair_that_does_not_exist_is_one_error(backend, precision):
    if precision in PAIRS[backend]:
        found = configured(backend=backend, precision=precision)
        assert (found["backend"], found["precision"]) == (backend, precision)
        return
    with pytest.raises(InputError) as error:
        configured(backend=backend, precision=precision)
    where = "config: experiments.one.inference.precision: "
    assert str(error.value).startswith(f"{where}{backend} has no {precision}; set it to fp32 or ")
    # What the remedy says works.
    other = str(error.value).rpartition("the backend to ")[2].split(" or ")[0]
    assert configured(backend=other, precision=precision)["backend"] == other


def test_graphs_run_on_the_cpu():
    with pytest.raises(InputError, match=r"inference\.device: openvino runs on the cpu .* to cpu"):
        configured(backend="openvino", device="cuda")


def test_torch_in_fp32_is_the_default_and_goes_without_saying():
    found = configured()
    assert is_reference(found["backend"], found["precision"])
    assert not is_reference("torch", "bf16")
