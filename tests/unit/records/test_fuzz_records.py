"""Fuzzed files of records and costs, most of them damaged: read correctly, or one line.

A file is made by a seed, in any of its layouts and types, and then one thing may be done to it.
What is read must be what was written, uncertainties and predictions computed anew from it.
"""

from __future__ import annotations

import datetime
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from early_exit.io.files import write_table
from early_exit.policy.costs import read_costs
from early_exit.policy.external_costs import read_external_costs
from early_exit.records.external.describe import examine
from early_exit.records.external.files import holds_logits
from early_exit.records.external.read import read_external_records
from early_exit.records.parquet import (
    METADATA_KEY,
    _checksum,
    read_pieces,
    read_records,
    write_records,
)
from fuzzing import CASES, generator, taken_or_refused

pytestmark = pytest.mark.faults
DOOR = "records"


@dataclass
class Made:
    """Arrays of records, by their names in `.npz`; and what is to be read of them."""

    kind: str
    arrays: dict[str, np.ndarray]

    def probabilities(self) -> np.ndarray:
        """Of logits, by the definition."""
        logits = self.arrays["logits"].astype(np.float32).astype(np.float64)
        powers = np.exp(logits - logits.max(axis=2, keepdims=True))
        return powers / powers.sum(axis=2, keepdims=True)


def made(rng: np.random.Generator) -> Made:
    """Records of a random kind, size and type."""
    samples, exits, classes = (int(rng.integers(*ends)) for ends in ((4, 60), (1, 6), (2, 9)))
    labels = rng.integers(0, classes, samples)
    labels[:2] = 0, classes - 1
    kind = rng.choice(["logits", "entropy", "external"])
    whole = rng.choice(["<i8", "<i4", "<u2", ">i4", "<u8", "i1"])
    number = rng.choice(["<f4", "<f8", "<f2", ">f4"])
    prediction = rng.integers(0, classes, (samples, exits))
    if kind == "logits":
        logits = rng.normal(scale=rng.choice([0.1, 3, 30]), size=(samples, exits, classes))
        arrays = {"logits": logits.astype(number), "labels": labels.astype(whole)}
    elif kind == "entropy":
        entropy = rng.uniform(0, 0.99 * np.log(classes), (samples, exits)).astype(number)
        arrays = {"entropy": entropy, "prediction": prediction.astype(whole)}
        arrays["labels"] = labels.astype(whole)
    else:
        uncertainty = rng.normal(size=(samples, exits)) * 10.0 ** rng.integers(-4, 4)
        correct = prediction == labels[:, None]
        kept = rng.choice(["?", "<i8", "<f4", "u1"])
        arrays = {"uncertainty": uncertainty.astype(number), "correct": correct.astype(kept)}
    if rng.random() < 0.4:
        arrays["index"] = rng.permutation(10 * samples)[:samples].astype("<i8")
    return Made(str(kind), arrays)


def check_read(records, own: Made) -> None:
    """What was read is what was written."""
    arrays, samples = own.arrays, len(records)
    index = arrays.get("index", np.arange(samples))
    np.testing.assert_array_equal(records.index, index.astype(np.int64))
    if own.kind == "external":
        expected = arrays["uncertainty"].astype(np.float64)
        np.testing.assert_array_equal(records.uncertainty_by("external"), expected)
        np.testing.assert_array_equal(records.correct, arrays["correct"].astype(bool))
        return
    labels = arrays["labels"].astype(np.int64)
    np.testing.assert_array_equal(records.label, labels)
    if own.kind == "entropy":
        np.testing.assert_array_equal(records.uncertainty, arrays["entropy"].astype(np.float32))
        np.testing.assert_array_equal(records.prediction, arrays["prediction"].astype(np.int64))
        return
    p = own.probabilities()
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log(p), 0).sum(axis=2)
    np.testing.assert_allclose(records.uncertainty, entropy, rtol=1e-5, atol=1e-6)
    single = arrays["logits"].astype(np.float32)
    np.testing.assert_array_equal(records.prediction, single.argmax(axis=2))
    np.testing.assert_array_equal(records.correct, single.argmax(axis=2) == labels[:, None])
    ordered = np.sort(p, axis=2)
    margin = 1 - (ordered[..., -1] - ordered[..., -2])
    np.testing.assert_allclose(records.uncertainty_by("margin"), margin, rtol=1e-5, atol=1e-6)


# Files.


def write_npz(path: Path, arrays: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    turned = {
        name: np.asfortranarray(array) if rng.random() < 0.2 else array
        for name, array in arrays.items()
    }
    save = np.savez if rng.random() < 0.6 else np.savez_compressed
    with open(path, "wb") as file:
        save(file, **turned)


def columns_of(arrays: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, pa.Array]:
    """The columns of a Parquet file, in any order."""
    columns: dict[str, pa.Array] = {}
    for name, array in arrays.items():
        array = array.astype(array.dtype.newbyteorder("="))
        if array.ndim == 1:
            columns["label" if name == "labels" else name] = pa.array(array)
            continue
        for k in range(array.shape[1]):
            if array.ndim == 2:
                columns[f"{name}_{k + 1}"] = pa.array(array[:, k])
                continue
            flat = pa.array(np.ascontiguousarray(array[:, k]).ravel())
            length, ends = array.shape[2], np.arange(len(array) + 1) * array.shape[2]
            columns[f"{name}_{k + 1}"] = [
                lambda flat=flat, length=length: pa.FixedSizeListArray.from_arrays(flat, length),
                lambda flat=flat, ends=ends: pa.ListArray.from_arrays(pa.array(ends, "i4"), flat),
                lambda flat=flat, ends=ends: pa.LargeListArray.from_arrays(
                    pa.array(ends, "i8"), flat
                ),
            ][rng.integers(3)]()
    order = rng.permutation(len(columns))
    names = [*columns]
    return {names[place]: columns[names[place]] for place in order}


def write_parquet(
    path: Path, names: list[str], columns: list[pa.Array], rng: np.random.Generator
) -> None:
    options = {
        "row_group_size": int(rng.choice([7, 1000])),
        "compression": str(rng.choice(["none", "snappy", "zstd"])),
        "use_dictionary": bool(rng.random() < 0.5),
        "write_page_checksum": True,
        "store_schema": bool(rng.random() < 0.7),
    }
    pq.write_table(pa.Table.from_arrays(columns, names=names), path, **options)


# What is done to arrays before they are written. What may still be taken says what is to be read.


def spoil_arrays(own: Made, rng: np.random.Generator) -> None:
    """A single change that makes one array invalid."""
    name = str(rng.choice([*own.arrays]))
    array = own.arrays[name]
    ways = {
        "transposed": lambda: array.T,
        "another order": lambda: np.moveaxis(array, 0, -1),
        "cut": lambda: array[:-1],
        "empty": lambda: array[:0],
        "scalar": lambda: array.ravel()[0],
        "one axis more": lambda: array[..., None],
        "flat": lambda: array.ravel(),
        "texts": lambda: array.astype(str),
        "bytes": lambda: array.astype("S8"),
        "complex": lambda: array.astype(complex),
        "dates": lambda: array.astype(np.float64).astype("i8").astype("M8[s]"),
        "durations": lambda: array.astype(np.float64).astype("i8").astype("m8[D]"),
        "a structure": lambda: np.zeros(array.shape, [("a", "f4"), ("b", "i4")]),
        "not a number": lambda: _with(array.astype(np.float64), np.nan, rng),
        "infinite": lambda: _with(array.astype(np.float64), -np.inf, rng),
        "huge": lambda: _with(array.astype(np.float64), 1.7e308, rng),
        "large": lambda: _with(array.astype(np.int64, casting="unsafe"), 2**62, rng),
        "too large": lambda: _with(array.astype(np.uint64, casting="unsafe"), 2**64 - 1, rng),
        "negative": lambda: _with(array.astype(np.float64), -5, rng).astype("i8"),
        "gone": lambda: None,
    }
    spoiled = ways[str(rng.choice([*ways]))]()
    if spoiled is None:
        del own.arrays[name]
    else:
        own.arrays[name] = spoiled


def _with(array: np.ndarray, value: float, rng: np.random.Generator) -> np.ndarray:
    array = array.copy()
    array[tuple(rng.integers(0, length) for length in array.shape)] = value
    return array


def still_right(own: Made) -> bool:
    """Whether arrays are those of records, by the rules in docs/records.md."""
    arrays = own.arrays
    needed = {
        "logits": {"logits", "labels"},
        "entropy": {"entropy", "prediction", "labels"},
        "external": {"uncertainty", "correct"},
    }[own.kind]
    if not needed <= {*arrays}:
        return False
    first = arrays[{"external": "uncertainty"}.get(own.kind, own.kind)]
    if first.ndim != (3 if own.kind == "logits" else 2) or 0 in first.shape:
        return False
    per_sample = {"labels", "index"} & {*arrays}
    if any(arrays[name].shape != first.shape[:1] for name in per_sample):
        return False
    if any(arrays[n].shape != first.shape for n in {"prediction", "correct"} & {*arrays}):
        return False
    if any(arrays[n].dtype.kind not in "iu" for n in {"prediction", *per_sample} & {*arrays}):
        return False
    top = {name: (int(arrays[name].min()), int(arrays[name].max())) for name in per_sample}
    if "index" in top and top["index"][1] >= 2**63:
        return False
    if first.dtype.kind not in "iuf" or not np.isfinite(first.astype(np.float64)).all():
        return False
    if own.kind == "external":
        correct = arrays["correct"]
        kind = correct.dtype.kind in "biuf" and np.isin(correct, (0, 1)).all()
        return bool(kind and np.abs(first.astype(np.float64)).max() <= 1e100)
    least, largest = top["labels"]
    if least < 0 or least == largest:
        return False
    if own.kind == "logits":
        fits = np.abs(first.astype(np.float64)).max() < np.finfo(np.float32).max
        return bool(fits and first.shape[2] >= 2 and largest < first.shape[2])
    prediction = arrays["prediction"]
    classes = 1 + max(largest, int(prediction.max()))
    if int(prediction.min()) < 0 or not 2 <= classes <= 32767:
        return False
    return bool(first.min() >= 0 and first.max() <= np.log(classes) + 1e-3)


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_arrays_at_random(tmp_path, tally, form):
    path, taken = tmp_path / f"records.{form}", 0
    for case in range(CASES // 2):
        rng = generator(f"{DOOR} {form}", case)
        own = made(rng)
        if spoiled := rng.random() < 0.7:
            spoil_arrays(own, rng)
        try:
            if form == "npz":
                write_npz(path, own.arrays, rng)
            else:
                found = columns_of(own.arrays, rng)
                write_parquet(path, [*found], [*found.values()], rng)
        except (pa.ArrowException, TypeError, ValueError, IndexError, AttributeError):
            # No such file can be written.
            continue
        holds_logits(path)
        records, line = taken_or_refused(read_external_records, path)
        # In Parquet a column has one axis: some of what was spoiled is right again there.
        right = still_right(own)
        if form == "npz" or not spoiled:
            assert (records is not None) == right, (case, line)
        if records is not None and right:
            check_read(records, own)
            taken += 1
        examined, other = taken_or_refused(examine, path, "test")
        assert (examined is None) == (records is None), (case, other)
    assert taken > CASES // 12
    tally[f"fuzzed {DOOR}"] += CASES // 2


# What is done to files.


def odd_column(length: int, rng: np.random.Generator) -> pa.Array:
    """A column of something that records never hold."""
    day = datetime.date(2026, 1, 1)
    return [
        lambda: pa.array([day] * length),
        lambda: pa.array([datetime.timedelta(1)] * length),
        lambda: pa.array(["x"] * length),
        lambda: pa.array([b"\xff"] * length),
        lambda: pa.array([[[1.0, 2.0]]] * length),
        lambda: pa.array([{"a": 1}] * length),
        lambda: pa.array([None] * length),
        lambda: pa.array([[]] * length, pa.list_(pa.float32())),
        lambda: pa.array([[0.5, "x"][0:1]] * length),
        lambda: pa.array([1.5, None] * length)[:length],
        lambda: pa.array(["a"] * length).dictionary_encode(),
        lambda: pa.array([True] * length),
        lambda: pa.array([1] * length, pa.decimal128(5, 2)),
        lambda: pa.array([2**64 - 1] * length, pa.uint64()),
        lambda: pa.array([[1.0]] * (length - 1) + [[1.0, 2.0]]),
        lambda: pa.array([datetime.datetime(2026, 1, 1)] * length, pa.timestamp("ns", "UTC")),
        lambda: pa.array([[day]] * length),
    ][rng.integers(17)]()


def spoil_columns(
    names: list[str], columns: list[pa.Array], rng: np.random.Generator
) -> tuple[list[str], list[pa.Array]]:
    """One thing done to one column."""
    place, way = int(rng.integers(len(names))), int(rng.integers(6))
    names, columns = [*names], [*columns]
    if way == 0:
        del names[place], columns[place]
    elif way == 1:
        names.append(names[place])
        columns.append(columns[place])
    elif way == 2:
        stem = names[place].rpartition("_")[0] or names[place]
        ends = ["0", "00", "01", "4000000000", "9" * 400, "-1", "x", "1.5", "٣", "", " 1", "1\n"]
        names[place] = f"{stem}_{rng.choice(ends)}"
    elif way == 3:
        names[place] = names[int(rng.integers(len(names)))]
    elif way == 4:
        columns[place] = odd_column(len(columns[place]), rng)
    else:
        names.append(str(rng.choice(["", "a.b", "logits", "entropy_mean", "\U0001f600"])))
        columns.append(odd_column(len(columns[0]), rng))
    return names, columns


def of_columns(names: list[str], columns: list[pa.ChunkedArray]) -> Made:
    """What is to be read of a file with these columns, which was taken."""
    arrays = {}
    for stem in ("logits", "entropy", "prediction", "uncertainty", "correct"):
        numbered = [names.count(f"{stem}_{k}") for k in range(1, len(names) + 1)]
        exits = numbered.index(0) if 0 in numbered else len(names)
        # Each once, from 1, without gaps.
        assert numbered[:exits] == [1] * exits
        assert not any(numbered[exits:])
        found = [columns[names.index(f"{stem}_{k}")].to_pylist() for k in range(1, exits + 1)]
        if found:
            arrays[stem] = np.moveaxis(np.array(found), 0, 1)
    for name, own in (("label", "labels"), ("index", "index")):
        if name in names:
            assert names.count(name) == 1
            arrays[own] = np.array(columns[names.index(name)].to_pylist())
    kinds = {"logits": "labels", "entropy": "labels", "uncertainty": "correct"}
    kind = next(kind for kind, other in kinds.items() if {kind, other} <= {*arrays})
    return Made({"uncertainty": "external"}.get(kind, kind), arrays)


def test_columns_at_random(tmp_path, tally):
    path, taken = tmp_path / "records.parquet", 0
    for case in range(CASES // 3):
        rng = generator(f"{DOOR} columns", case)
        own = made(rng)
        found = columns_of(own.arrays, rng)
        names, columns = spoil_columns([*found], [*found.values()], rng)
        try:
            write_parquet(path, names, columns, rng)
        except (pa.ArrowException, NotImplementedError):
            continue
        holds_logits(path)
        records, _ = taken_or_refused(read_external_records, path)
        if records is None:
            continue
        taken += 1
        # As the file has them: a duration may be a whole number there.
        table = pq.read_table(path)
        check_read(records, of_columns(table.column_names, table.columns))
    assert taken
    tally[f"fuzzed {DOOR}"] += CASES // 3


def hostile_npz(rng: np.random.Generator) -> bytes:
    """An `.npz` with members that contradict their headers."""
    logits = np.zeros((4, 2, 3), np.float32)
    array = io.BytesIO()
    np.save(array, logits)
    good, labels = array.getvalue(), io.BytesIO()
    np.save(labels, np.array([0, 1, 2, 0]))
    heads = [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -2, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2, 4), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (4, 2, 3), }",
        "{'descr': '<f4', 'fortran_order': 7, 'shape': (4, 2, 3), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4, 2, 3), }",
        "{'descr': '<U0', 'fortran_order': False, 'shape': (4, 2, 3), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': [4, 2, 3], }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10**9,), }",
        "__import__('os').system('false')",
        "(" * 5000,
        "",
    ]
    head = str(rng.choice(heads)).encode() + b"\n"
    spoiled = [
        b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + good[-96:],
        b"\x93NUMPY\x09\x00" + good[8:],
        b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\x7f" + head,
        b"",
        b"not an array at all",
        good[:-7],
        good + b"more",
    ]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        name = str(rng.choice(["logits.npy", "logits", "index.npy", "labels.npy", "logits.txt"]))
        member = spoiled[0] if rng.random() < 0.5 else spoiled[rng.integers(len(spoiled))]
        out.writestr(name, member)
        for other, content in (("logits.npy", good), ("labels.npy", labels.getvalue())):
            if other != name or rng.random() < 0.1:
                out.writestr(other, content)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_are_not_what_they_say(tmp_path, tally):
    path = tmp_path / "records.npz"
    for case in range(CASES // 3):
        path.write_bytes(hostile_npz(generator(f"{DOOR} members", case)))
        holds_logits(path)
        records, line = taken_or_refused(read_external_records, path)
        if records is not None:
            assert records.logits.shape[::2] == (4, 3) or records.exits == 2, line
            assert not records.logits.any()
    tally[f"fuzzed {DOOR}"] += CASES // 3


def damage(whole: bytes, rng: np.random.Generator) -> bytes:
    """Bits flipped, a piece left out, doubled or made zero, or the end cut off."""
    start, end = sorted(rng.integers(0, len(whole), 2))
    end = min(int(end), int(start) + 64)
    way = rng.integers(5)
    if way == 0:
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            content[place] ^= 1 << rng.integers(8)
        return bytes(content)
    return [
        whole[:start],
        whole[:start] + whole[end:],
        whole[:end] + whole[start:],
        whole[:start] + bytes(end - start) + whole[end:],
    ][way - 1]


@pytest.mark.parametrize("form", ["npz", "parquet", "own"])
def test_damaged_files(tmp_path, tally, form):
    path = tmp_path / f"records.{'npz' if form == 'npz' else 'parquet'}"
    for case in range(CASES // 3):
        rng = generator(f"{DOOR} damaged {form}", case)
        own = made(rng)
        if form == "npz":
            write_npz(path, own.arrays, rng)
        else:
            found = columns_of(own.arrays, rng)
            write_parquet(path, [*found], [*found.values()], rng)
        if form == "own":
            write_records(path, read_external_records(path, "test"))
        path.write_bytes(damage(path.read_bytes(), rng))
        holds_logits(path)
        records, _ = taken_or_refused(read_external_records, path, "test")
        if records is not None:
            check_read(records, own)
        if form == "own":
            records, _ = taken_or_refused(read_records, path, logits=own.kind == "logits")
            if records is not None:
                check_read(records, own)
    tally[f"fuzzed {DOOR}"] += CASES // 3


def test_metadata_at_random(tmp_path, tally):
    """Edited metadata of a file of this project, with a new checksum or not."""
    path = tmp_path / "test.parquet"
    values = [
        1,
        0,
        -1,
        10**9,
        10**400,
        1.5,
        True,
        None,
        "3",
        [],
        {},
        [[]] * 3,
        "external",
        "x" * 5000,
    ]
    for case in range(CASES // 3):
        rng = generator(f"{DOOR} metadata", case)
        own = made(rng)
        found = columns_of(own.arrays, rng)
        write_parquet(path, [*found], [*found.values()], rng)
        write_records(path, read_external_records(path, "test"))
        table = pq.read_table(path)
        said = json.loads(table.schema.metadata[METADATA_KEY])
        said.pop("checksum")
        before = dict(said)
        key = str(rng.choice([*said, "measure", "span", "shards", "network"]))
        said[key] = values[rng.integers(len(values))]
        if rng.random() < 0.2:
            del said[key]
        texts = [
            json.dumps(said | {"checksum": _checksum(said)}),
            json.dumps(said),
            "[1]",
            "5",
            "",
            "[" * 3000,
            '{"checksum": 1}',
        ]
        text = texts[0] if rng.random() < 0.7 else texts[rng.integers(len(texts))]
        pq.write_table(table.replace_schema_metadata({METADATA_KEY: text}), path)
        for reading in (
            lambda: read_external_records(path, "test"),
            lambda: read_records(path, logits=True),
            lambda: [*read_pieces(path)],
        ):
            records, _ = taken_or_refused(reading)
            changed = {k for k in {*before, *said} if before.get(k) != said.get(k)}
            if records is not None and not isinstance(records, list) and "measure" not in changed:
                assert records.exits == before["exits"]
    tally[f"fuzzed {DOOR}"] += CASES // 3


# Cost tables.


def cost_text(rng: np.random.Generator) -> str:
    exits = int(rng.integers(1, 8))
    costs = np.cumsum(rng.uniform(1, 9, exits)) * 10.0 ** rng.integers(-3, 12)
    names = {"macs": costs, "ms": costs / 1e3, "relative": costs / costs[-1]}
    chosen = [["macs"], ["ms"], ["macs", "ms"], ["relative"], ["relative", "ms"]][rng.integers(5)]
    table = pd.DataFrame({"exit": range(1, exits + 1)} | {name: names[name] for name in chosen})
    if rng.random() < 0.4:
        first = np.diff(names[chosen[0]], prepend=0.0)
        table[f"head_{chosen[0]}"] = 0.1 * first
    return table.sample(frac=1, random_state=int(rng.integers(1000))).to_csv(index=False)


def spoil_text(text: str, rng: np.random.Generator) -> bytes:
    lines = text.splitlines()
    line, way = int(rng.integers(len(lines))), int(rng.integers(10))
    cells = lines[line].split(",")
    values = ["nan", "inf", "-1", "1e400", "1.7e308", "5e-324", "0", "x", "", "1;2", "'", '"', "٣"]
    values += ["=1+1", "2026-01-01", "9" * 5000, "1_000", "0x10", "True", "1e9999999", "\x00"]
    cells[int(rng.integers(len(cells)))] = str(rng.choice(values))
    if way < 5:
        lines[line] = ",".join(cells)
    elif way == 5:
        lines.append(lines[line])
    elif way == 6:
        del lines[line]
    elif way == 7:
        return text.replace(",", ";").encode()
    elif way == 8:
        return text.encode("utf-16") if rng.random() < 0.5 else damage(text.encode(), rng)
    else:
        lines[line] += ",1" * int(rng.choice([1, 3000]))
    return "\n".join(lines).encode()


def test_cost_tables_at_random(tmp_path, tally):
    path, taken = tmp_path / "costs.csv", 0
    for case in range(CASES):
        rng = generator(f"{DOOR} costs", case)
        text = cost_text(rng)
        spoiled = rng.random() < 0.75
        path.write_bytes(spoil_text(text, rng) if spoiled else text.encode())
        found, line = taken_or_refused(read_external_costs, path)
        assert spoiled or found, line
        if found is None:
            continue
        table, machine = found
        write_table(tmp_path / "cost.csv", table)
        model, line = taken_or_refused(
            read_costs, tmp_path / "cost.csv", machine["batch_size"], machine["regroup"]
        )
        assert model is not None, (case, line)
        if not spoiled:
            written = pd.read_csv(io.StringIO(text)).sort_values("exit")
            for unit in {"macs", "ms", "relative"} & {*written}:
                own = "ms" if unit == "ms" else "macs"
                whole, expected = model.in_unit(own).full_network, written[unit].to_numpy()[-1]
                early = 0.0
                if f"head_{unit}" in written:
                    early = written[f"head_{unit}"].to_numpy()[:-1].sum()
                assert whole == pytest.approx(expected - early, rel=1e-6)
            taken += 1
    assert taken > CASES // 8
    tally[f"fuzzed {DOOR}"] += CASES
