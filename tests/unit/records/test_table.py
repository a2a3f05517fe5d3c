import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from early_exit.errors import InputError
from early_exit.io.files import CHECKSUM
from early_exit.io.provenance import check_same_provenance
from early_exit.records import parquet as records_parquet
from early_exit.records.parquet import read_pieces, read_records, write_records
from early_exit.records.table import from_external, from_logits
from early_exit.records.uncertainty import measures
from helpers import PROVENANCE, make_records


@pytest.fixture
def path(tmp_path):
    target = tmp_path / "calibration.parquet"
    write_records(target, make_records())
    return target


@pytest.mark.parametrize("logits", [False, True])
def test_round_trip(path, logits):
    records, again = make_records(), read_records(path, logits=logits)
    for name in ("index", "label", "uncertainty", "prediction"):
        np.testing.assert_array_equal(getattr(again, name), getattr(records, name))
    assert again.provenance["network"] == PROVENANCE["network"]
    assert (again.exits, again.classes, len(again)) == (3, 4, 60)
    if logits:
        np.testing.assert_array_equal(again.logits, records.logits)


@pytest.mark.parametrize("logits", [False, True])
def test_pieces_are_row_groups_that_make_up_the_whole(tmp_path, monkeypatch, logits):
    monkeypatch.setattr(records_parquet, "ROWS", 16)
    write_records(tmp_path / "test.parquet", make_records())
    whole = read_records(tmp_path / "test.parquet", logits=logits)
    pieces = list(read_pieces(tmp_path / "test.parquet", logits=logits))
    assert [len(piece) for piece in pieces] == [16, 16, 16, 12]
    for name in ("index", "label", "uncertainty", "prediction", *(["logits"] if logits else [])):
        joined = np.concatenate([getattr(piece, name) for piece in pieces])
        np.testing.assert_array_equal(joined, getattr(whole, name))
    assert logits or all(piece.logits is None for piece in pieces)


def test_the_columns_are_those_of_the_contract(path):
    table = pq.read_table(path)
    each = [f"{name}_{k}" for k in (1, 2, 3) for name in ("entropy", "prediction", "logits")]
    assert set(table.column_names) == {"index", "label", *each}
    assert str(table.schema.field("logits_1").type) == "fixed_size_list<element: float>[4]"
    assert json.loads(table.schema.metadata[b"early_exit"])["split"] == "calibration"
    # Any other tool of the field reads it.
    assert len(pd.read_parquet(path)) == 60


def test_entropy_and_prediction_come_from_the_logits():
    records = make_records()
    expected = measures.measure("entropy")(records.logits.astype(np.float64))
    np.testing.assert_allclose(records.uncertainty, expected, rtol=1e-6)
    np.testing.assert_array_equal(records.prediction, records.logits.argmax(axis=2))
    assert records.correct.mean(axis=0)[-1] > records.correct.mean(axis=0)[0]


def test_other_measures_need_the_logits(path):
    assert read_records(path, logits=True).uncertainty_by("margin").shape == (60, 3)
    with pytest.raises(InputError, match="margin needs logits"):
        read_records(path).uncertainty_by("margin")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_logit_that_is_no_number_is_named(bad):
    logits = np.zeros((3, 2, 4), np.float32)
    logits[1, 1, 2] = bad
    with pytest.raises(InputError, match="first sample 8 at exit 2"):
        from_logits(np.array([7, 8, 9]), np.array([0, 1, 2]), logits, dict(PROVENANCE))


@pytest.mark.parametrize(
    ("labels", "message"),
    [([1, 1, 1], "all 3 samples are of class 1"), ([0, 1, 4], "4 classes"), ([], "no samples")],
)
def test_labels_that_make_no_sense_are_named(labels, message):
    logits = np.zeros((len(labels), 2, 4), np.float32)
    with pytest.raises(InputError, match=message):
        from_logits(np.arange(len(labels)), np.array(labels, int), logits, dict(PROVENANCE))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_never_gives_other_numbers(path, data):
    whole = path.read_bytes()
    if data.draw(st.booleans(), "truncate"):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        place = data.draw(st.integers(0, len(whole) - 1))
        bit = 1 << data.draw(st.integers(0, 7))
        damaged = whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :]
    broken = path.with_name("broken.parquet")
    broken.write_bytes(damaged)
    try:
        read = read_records(broken, logits=True)
    except InputError as error:
        assert "broken.parquet" in str(error)
        return
    # A file that can be read was damaged in unused bytes.
    np.testing.assert_array_equal(read.uncertainty, make_records().uncertainty)
    np.testing.assert_array_equal(read.logits, make_records().logits)
    for name in ("label", "index", "prediction"):
        np.testing.assert_array_equal(getattr(read, name), getattr(make_records(), name))
    assert read.provenance == make_records().provenance | {"format": 1}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.parquet"):
        read_records(tmp_path / "gone.parquet")


def test_parquet_of_something_else_is_named(tmp_path):
    path = tmp_path / "other.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(InputError, match=r"other\.parquet.*not records"):
        read_records(path)


def test_tables_of_different_networks_do_not_mix():
    one, other = {"network": "a", "data": "d"}, {"network": "b", "data": "d"}
    check_same_provenance(("x", one), ("y", {"data": "d"}), ("z", one))
    with pytest.raises(InputError, match="y: made with another network than x"):
        check_same_provenance(("x", one), ("y", other))


def test_a_file_that_calls_its_measure_by_the_former_name_is_read(tmp_path):
    records = from_external(
        np.arange(4), np.linspace(0, 1, 8).reshape(4, 2), np.eye(4, 2), PROVENANCE
    )
    write_records(tmp_path / "new.parquet", records)
    table = pq.read_table(tmp_path / "new.parquet")
    provenance = json.loads(table.schema.metadata[records_parquet.METADATA_KEY])
    del provenance[CHECKSUM]
    assert provenance["measure"] == "external"
    provenance["measure"] = "given"
    text = json.dumps(
        provenance | {CHECKSUM: records_parquet._checksum(provenance)}, sort_keys=True
    )
    table = table.replace_schema_metadata({records_parquet.METADATA_KEY: text})
    pq.write_table(table, tmp_path / "old.parquet", write_page_checksum=True)
    read = read_records(tmp_path / "old.parquet")
    assert (read.measure, read.external, read.provenance["measure"]) == (
        "external",
        True,
        "external",
    )
    np.testing.assert_array_equal(read.uncertainty, records.uncertainty)


def test_temperatures_for_other_exits_are_named():
    with pytest.raises(InputError, match="temperatures: 2, but the records have 3 exits; give one"):
        make_records().uncertainty_by("entropy", (1.0, 2.0))
