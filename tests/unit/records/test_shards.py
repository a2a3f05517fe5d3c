import re
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from early_exit.errors import InputError
from early_exit.records import parquet as records_parquet
from early_exit.records import shards
from early_exit.records.parquet import read_records, write_records
from early_exit.records.table import from_logits
from helpers import PROVENANCE

SAMPLES, EXITS, CLASSES, BATCH = 90, 2, 3, 8


@pytest.fixture
def small_groups(monkeypatch):
    """Row groups of 16 rows, so that shards of 90 samples have several."""
    monkeypatch.setattr(records_parquet, "ROWS", 16)


def recorded(folder, count=1, **changed):
    """The files of a split recorded in `count` shards, or whole; labels sorted, as in ImageNet."""
    rng = np.random.default_rng(0)
    index, label = rng.permutation(SAMPLES), np.sort(rng.integers(0, CLASSES, SAMPLES))
    logits = rng.normal(size=(SAMPLES, EXITS, CLASSES)).astype(np.float32)
    if count == 1:
        write_records(folder / "whole.parquet", from_logits(index, label, logits, dict(PROVENANCE)))
        return folder / "whole.parquet"
    files = []
    for shard in range(1, count + 1):
        rows = shards.rows(SAMPLES, BATCH, shard, count)
        provenance = PROVENANCE | {"shard": shard, "shards": count, "samples": SAMPLES} | changed
        part = from_logits(index[rows], label[rows], logits[rows], provenance, whole=False)
        files.append(folder / f"{shard}_of_{count}.parquet")
        write_records(files[-1], part)
    return files


@given(
    samples=st.integers(1, 5000),
    batch_size=st.integers(1, 600),
    count=st.integers(1, 40),
)
def test_shards_are_complete_batches_and_cover_all_samples(samples, batch_size, count):
    batches = -(-samples // batch_size)
    if count > batches:
        with pytest.raises(InputError, match=f"set it to {batches} or less"):
            shards.rows(samples, batch_size, 1, count)
        return
    found = [shards.rows(samples, batch_size, shard, count) for shard in range(1, count + 1)]
    assert [found[0].start, found[-1].stop] == [0, samples]
    assert all(left.stop == right.start for left, right in pairwise(found))
    assert all(rows.start % batch_size == 0 and rows.start < rows.stop for rows in found)
    sizes = [-(-(rows.stop - rows.start) // batch_size) for rows in found]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("count", [2, 3, 5, 12])
def test_joined_shards_equal_one_job_to_the_byte(tmp_path, small_groups, count):
    whole = recorded(tmp_path)
    shards.join(tmp_path / "joined.parquet", recorded(tmp_path, count))
    assert pq.ParquetFile(whole).num_row_groups == 6
    assert (tmp_path / "joined.parquet").read_bytes() == whole.read_bytes()


def test_records_without_logits_are_joined_too(tmp_path, small_groups):
    """What `exits.logits: needed` leaves out stays out."""
    write_records(
        tmp_path / "short.parquet", replace(read_records(recorded(tmp_path)), logits=None)
    )
    files = recorded(tmp_path, 3)
    for file in files:
        write_records(file, read_a_shard(file))
    shards.join(tmp_path / "joined.parquet", files)
    joined = (tmp_path / "joined.parquet").read_bytes()
    assert joined == (tmp_path / "short.parquet").read_bytes()
    with pytest.raises(InputError, match="has no logits, but they are needed"):
        read_records(tmp_path / "joined.parquet", logits=True)


def read_a_shard(file):
    pieces = list(records_parquet.read_pieces(file))
    columns = ("index", "label", "uncertainty", "prediction")
    joined = {name: np.concatenate([getattr(p, name) for p in pieces]) for name in columns}
    provenance = {k: v for k, v in pieces[0].provenance.items() if k != "format"}
    return replace(pieces[0], **joined, provenance=provenance)


@pytest.mark.parametrize("wrong", ["order", "missing", "network", "damaged", "whole"])
def test_what_does_not_belong_together_is_named(tmp_path, wrong):
    files = recorded(tmp_path, 3)
    if wrong == "order":
        files[1], files[2] = files[2], files[1]
    elif wrong == "missing":
        del files[0]
    elif wrong == "network":
        other = tmp_path / "other"
        other.mkdir()
        files[1] = recorded(other, 3, network="m" * 64)[1]
    elif wrong == "whole":
        files[1] = recorded(tmp_path)
    else:
        files[1].write_bytes(files[1].read_bytes()[:-100])
    blamed = files[0] if wrong == "missing" else files[1]
    with pytest.raises(InputError, match=re.escape(str(blamed))):
        shards.join(tmp_path / "joined.parquet", files)
    assert not (tmp_path / "joined.parquet").exists()


@pytest.mark.parametrize("larger", [0, 1])
def test_a_sample_that_is_in_two_shards_or_in_none_is_refused(tmp_path, monkeypatch, larger):
    """The batches were made larger between the two, so the first one ends behind the second's."""
    files = recorded(tmp_path, 2)
    monkeypatch.setattr(sys.modules[__name__], "BATCH", 64)
    other = tmp_path / "other"
    other.mkdir()
    assert shards.rows(SAMPLES, 64, 1, 2).stop > shards.rows(SAMPLES, 8, 2, 2).start
    files[larger] = recorded(other, 2)[larger]
    with pytest.raises(InputError, match=rf"instead of {SAMPLES}, as if .* inference\.batch_size"):
        shards.join(tmp_path / "joined.parquet", files)
    assert not (tmp_path / "joined.parquet").exists()


def test_a_joined_split_of_one_class_is_refused(tmp_path):
    files = []
    for shard in (1, 2):
        provenance = PROVENANCE | {"shard": shard, "shards": 2, "samples": 8}
        logits = np.zeros((4, EXITS, CLASSES), np.float32)
        part = from_logits(np.arange(4), np.ones(4, int), logits, provenance, whole=False)
        files.append(tmp_path / f"{shard}.parquet")
        write_records(files[-1], part)
    with pytest.raises(InputError, match="samples are of class 1"):
        shards.join(tmp_path / "joined.parquet", files)
    assert not (tmp_path / "joined.parquet").exists()
