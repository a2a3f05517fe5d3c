"""Confidences in records: the columns, the measure, and what is refused."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.policy.sweep import span_of
from early_exit.records.external.describe import examine
from early_exit.records.external.read import read_external_records
from early_exit.records.parquet import (
    available_measures,
    read_computed,
    read_pieces,
    read_records,
    write_pieces,
    write_records,
)
from early_exit.records.shards import join
from early_exit.records.table import from_logits, joined
from early_exit.records.uncertainty import measures
from helpers import PROVENANCE, make_records

EXITS = range(1, 4)


def confident(samples=60, exits=3, seed=0):
    """Records with a confidence beside the logits, of any number."""
    plain = make_records(samples, exits, seed=seed)
    rng = np.random.default_rng(seed)
    confidence = (3 * rng.normal(size=(samples, exits))).astype(np.float32)
    given = plain.index, plain.label, plain.logits, dict(PROVENANCE)
    return from_logits(*given, confidence=confidence)


def test_the_uncertainty_is_one_minus_it_in_single_precision():
    records = confident()
    found = records.uncertainty_by("confidence")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32(1) - records.confidence)
    criterion = ExitCriterion("confidence", temperatures=(1.0, 2.0, 3.0))
    assert criterion.temperatures is None
    assert not criterion.needs_logits
    np.testing.assert_array_equal(criterion.uncertainty(records), found)
    np.testing.assert_array_equal(criterion.prediction(records), records.prediction)
    np.testing.assert_array_equal(records.uncertainty_by("confidence", (1.0, 2.0, 3.0)), found)


def test_selecting_joining_and_dropping_logits_keep_it():
    records = confident()
    chosen = records.select(np.array([5, 3]))
    np.testing.assert_array_equal(chosen.confidence, records.confidence[[5, 3]])
    again = joined(piece.without_logits() for piece in records.pieces(7))
    np.testing.assert_array_equal(again.confidence, records.confidence)
    assert again.logits is None
    np.testing.assert_array_equal(
        again.uncertainty_by("confidence"), records.uncertainty_by("confidence")
    )


@pytest.mark.parametrize("logits", [True, False])
def test_a_file_has_a_column_for_each_exit(tmp_path, logits):
    records = confident()
    write_records(tmp_path / "test.parquet", records if logits else records.without_logits())
    kept = [("logits",), ()][not logits]
    names = [
        f"{name}_{k}" for k in EXITS for name in ("entropy", "prediction", "confidence", *kept)
    ]
    assert pq.read_schema(tmp_path / "test.parquet").names == ["index", "label", *names]
    for read in (
        read_records(tmp_path / "test.parquet", logits=logits),
        joined(read_pieces(tmp_path / "test.parquet", logits=logits)),
        read_external_records(tmp_path / "test.parquet"),
    ):
        np.testing.assert_array_equal(read.confidence, records.confidence)
        assert read.confidence.dtype == np.float32
    if logits:
        key = ExitCriterion("margin").key
        computed = read_computed(tmp_path / "test.parquet", [key])
        np.testing.assert_array_equal(computed.confidence, records.confidence)
    wanted = ["margin", "confidence"]
    found = available_measures(tmp_path / "test.parquet", wanted)
    assert found == (wanted if logits else ["confidence"])
    examine(tmp_path / "test.parquet", "").check_measures(["confidence"])


def test_a_file_without_has_the_columns_that_it_had(tmp_path):
    records = make_records()
    write_records(tmp_path / "test.parquet", records)
    names = [f"{name}_{k}" for k in EXITS for name in ("entropy", "prediction", "logits")]
    assert pq.read_schema(tmp_path / "test.parquet").names == ["index", "label", *names]
    assert read_records(tmp_path / "test.parquet").confidence is None
    wanted = ["margin", "confidence"]
    assert available_measures(tmp_path / "test.parquet", wanted) == ["margin"]
    assert available_measures(tmp_path / "test.parquet", ["confidence"]) == ["confidence"]


def test_shards_are_joined_to_the_bytes_of_a_single_pass(tmp_path):
    records = confident()
    write_records(tmp_path / "whole.parquet", records)
    parts = []
    for number, rows in enumerate((slice(0, 20), slice(20, 60)), 1):
        shard = {"shard": number, "shards": 2, "samples": 60}
        part = records.select(rows)
        parts.append(tmp_path / f"{number}.parquet")
        write_pieces(parts[-1], [part], records.provenance | shard, True, True)
    join(tmp_path / "joined.parquet", parts)
    assert (tmp_path / "joined.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(tmp_path, bad):
    records = confident()
    records.confidence[4, 1] = bad
    given = records.index, records.label, records.logits, {"split": "test"}
    with pytest.raises(InputError, match=r"test: confidences of 1 samples .* sample 4 at exit 2"):
        from_logits(*given, confidence=records.confidence)
    write_records(tmp_path / "test.parquet", records)
    with pytest.raises(InputError, match=r"test\.parquet: a confidence is NaN or infinite"):
        read_records(tmp_path / "test.parquet")
    with pytest.raises(InputError, match=r"confidences of shape \(60, 2\); expected \(60, 3\)"):
        from_logits(*given, confidence=records.confidence[:, :2])


def test_records_without_say_what_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"have no confidences.*heads return") as error:
        make_records().uncertainty_by("confidence")
    assert "(logits, confidence)" in error.value.remedy
    write_records(tmp_path / "test.parquet", make_records())
    with pytest.raises(InputError, match="have no confidences"):
        examine(tmp_path / "test.parquet", "").check_measures(["confidence"])
    with pytest.raises(InputError, match="no function of the logits"):
        measures.module("confidence")


def test_a_policy_is_written_and_read(tmp_path):
    policy = Policy(ExitCriterion("confidence", "above", (1.0, 2.0, 3.0)), (0.25, "never"))
    assert policy.to_json()["temperatures"] is None
    policy.save(tmp_path / "policy.json")
    assert Policy.load(tmp_path / "policy.json") == policy
    with pytest.raises(InputError, match="confidence has no parameters"):
        Policy(ExitCriterion("confidence", parameters={"weights": [1.0, 2.0]}), (0.5, 0.5))


def test_its_range_is_that_of_the_exits_with_thresholds():
    records = confident()
    records.confidence[:, 2] *= 100
    early = 1 - records.confidence[:, :2]
    found = span_of(records.pieces(7), ExitCriterion("confidence"))
    assert found == (early.min(), early.max())
    assert np.isinf(measures.maximum("confidence", 4))
