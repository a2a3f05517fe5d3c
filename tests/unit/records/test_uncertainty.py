import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from early_exit.records.uncertainty import measures

NAMES = ["entropy", "max_probability", "margin"]
LOGITS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 5), st.integers(2, 6)),
    elements=st.floats(-1e4, 1e4),
)


def test_entropy_by_hand():
    # p = 1/2, 1/4, 1/4: H = 1/2 ln 2 + 2 * 1/4 ln 4 = 3/2 ln 2.
    logits = np.log([[0.5, 0.25, 0.25]])
    assert measures.measure("entropy")(logits) == pytest.approx([1.5 * math.log(2)])


def test_the_other_measures_by_hand():
    logits = np.log([[0.5, 0.3, 0.2]])
    assert measures.measure("max_probability")(logits) == pytest.approx([0.5])
    assert measures.measure("margin")(logits) == pytest.approx([0.8])


@pytest.mark.parametrize("name", NAMES)
def test_equal_logits_are_the_maximum(name):
    assert measures.measure(name)(np.zeros((1, 10)))[0] == pytest.approx(measures.maximum(name, 10))


@pytest.mark.parametrize("name", NAMES)
def test_a_saturated_softmax_gives_zero_and_no_nan(name):
    logits = np.array([[1e4, 0.0, -1e4]], dtype=np.float32)
    value = measures.measure(name)(logits)
    assert value == [0.0]
    assert not np.signbit(value[0])


@pytest.mark.parametrize("name", NAMES)
@given(logits=LOGITS)
def test_finite_logits_give_values_in_range(name, logits):
    value = measures.measure(name)(logits)
    assert value.shape == logits.shape[:-1]
    assert (value >= 0).all()
    assert (value <= measures.maximum(name, logits.shape[-1]) + 1e-9).all()


@pytest.mark.parametrize("name", NAMES)
@given(logits=LOGITS, shift=st.floats(-100, 100))
def test_a_common_shift_of_the_logits_changes_nothing(name, logits, shift):
    measure = measures.measure(name)
    np.testing.assert_allclose(measure(logits + shift), measure(logits), atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@given(logits=LOGITS)
def test_torch_and_numpy_agree(name, logits):
    measure = measures.measure(name)
    np.testing.assert_allclose(
        measure(torch.from_numpy(logits)).numpy(), measure(logits), atol=1e-9
    )


@pytest.mark.parametrize(
    ("wanted", "external", "logits", "expected"),
    [
        (["margin", "entropy"], False, True, ["margin", "entropy"]),
        (["margin", "entropy"], False, False, ["entropy"]),
        (["margin", "entropy"], True, False, ["external"]),
        # One that was asked for by itself is not replaced: that it is missing is an error later.
        (["margin"], False, False, ["margin"]),
        (["margin"], True, False, ["margin"]),
        (["external"], True, False, ["external"]),
        (["external"], False, True, ["external"]),
    ],
)
def test_of_the_measures_those_that_records_allow(wanted, external, logits, expected):
    assert measures.available(wanted, external, logits) == expected
