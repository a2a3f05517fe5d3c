"""Arrays on the explorer's page: exact, small, and subsampled by a seed."""

import numpy as np
import pytest

from early_exit.calibration.criteria import fit
from early_exit.explorer.data import MOST_BYTES, packed, packed_split, rows_kept, unpacked
from early_exit.policy.criterion import ExitCriterion
from early_exit.records.table import from_external
from explored import MEASURES, some_records

CRITERIA = [ExitCriterion(name) for name in MEASURES]


@pytest.mark.parametrize(
    "array",
    [
        np.array([0.1, -0.0, 1e-45, 3e38, np.nextafter(0.5, 1)], np.float32),
        np.array([0.1, 1e300, 5e-324, -2.5]),
        np.arange(300, dtype=np.uint16),
        np.arange(7, dtype=np.uint8),
    ],
    ids=lambda array: array.dtype.name,
)
def test_every_bit_is_kept(array):
    content = packed(array)
    assert content["type"] == array.dtype.name
    assert unpacked(content).tobytes() == array.tobytes()


def test_equal_arrays_give_equal_text():
    array = np.random.default_rng(0).normal(size=(3, 50))
    assert packed(array) == packed(array.copy()) == packed(np.asfortranarray(array))


def test_a_split_has_what_the_criteria_compare():
    records = some_records("calibration", 50, 3)
    content = packed_split(records, CRITERIA, 80)
    assert (content["samples"], content["of"]) == (50, 80)
    for criterion, own in zip(CRITERIA, content["uncertainty"], strict=True):
        found = unpacked(own).reshape(2, 50)
        assert np.array_equal(found.T, criterion.uncertainty(records)[:, :-1])
    assert np.array_equal(unpacked(content["prediction"]).reshape(3, 50).T, records.prediction)
    assert unpacked(content["label"]).tolist() == records.label.tolist()
    assert content["predictions"] == [None] * 3


def test_predictions_of_a_criterion_are_kept_where_they_are_its_own():
    records = some_records("calibration", 200, 3)
    criterion = fit(records, ExitCriterion("ensemble"))
    own = packed_split(records, [criterion])["predictions"][0]
    found = unpacked(own).reshape(3, 200).T
    assert np.array_equal(found, criterion.prediction(records))
    assert not np.array_equal(found, records.prediction)


def test_external_uncertainties_keep_double_precision():
    unsure = np.random.default_rng(0).normal(size=(20, 3))
    records = from_external(np.arange(20), unsure, unsure < 0, {})
    content = packed_split(records, [ExitCriterion("external")])
    assert np.array_equal(unpacked(content["uncertainty"][0]).reshape(2, 20).T, unsure[:, :-1])


def test_ten_thousand_samples_at_ten_exits_fit_whole():
    splits = {
        split: some_records(split, 10_000, 10, seed=seed)
        for seed, split in enumerate(("calibration", "test"))
    }
    assert rows_kept(splits, 3) == {"calibration": None, "test": None}


def test_more_are_subsampled_and_each_split_takes_what_the_other_leaves():
    bytes_each = 3 * 9 * 4
    most = MOST_BYTES // bytes_each
    large, small = (some_records("calibration", size, 10) for size in (most + 500, 100))
    rows = rows_kept({"calibration": small, "test": large}, 3)
    assert rows["calibration"] is None
    assert len(rows["test"]) == most - 100
    assert (np.diff(rows["test"]) > 0).all()
    again = rows_kept({"calibration": small, "test": large}, 3)
    assert np.array_equal(rows["test"], again["test"])
    halved = rows_kept({"calibration": large, "test": large}, 3)
    assert {len(own) for own in halved.values()} == {most // 2}
