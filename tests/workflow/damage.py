"""Damage to artifacts, generated for any file that a step reads."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from early_exit.io.files import read_json, read_table, write_json, write_table
from early_exit.networks import MultiExitNetwork
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import load_network, save_network
from early_exit.records.parquet import read_records, write_records
from early_exit.records.table import Records

FLIPS = 2
PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>\n"


def broken(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield damaged bytes of an artifact, each with the kind of damage."""
    whole = path.read_bytes()
    yield "empty", b""
    yield "a web page", PAGE
    yield "the first half", whole[: len(whole) // 2]
    yield "without its end", whole[:-7]
    yield "without its start", whole[7:]
    yield "twice", whole + whole
    yield "zeros", bytes(len(whole))
    for place, bit in _places(path, len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << bit
        yield f"bit {bit} of byte {place} flipped", bytes(flipped)


def _places(path: Path, size: int) -> Iterator[tuple[int, int]]:
    chance = random.Random(zlib.crc32(str(path).encode()))
    if path.suffix != ".parquet":
        yield from ((chance.randrange(size), chance.randrange(8)) for _ in range(FLIPS))
        return
    # In what every step reads: the pages of an entropy, and the footer.
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    entropy = next(column for column in columns if column.path_in_schema == "entropy_1")
    start = min(entropy.dictionary_page_offset or size, entropy.data_page_offset)
    end = start + entropy.total_compressed_size
    yield from ((chance.randrange(start, end), chance.randrange(8)) for _ in range(FLIPS // 2))
    footer = int.from_bytes(path.read_bytes()[-8:-4], "little") + 8
    places = range(size - footer, size)
    yield from ((chance.choice(places), chance.randrange(8)) for _ in range(FLIPS // 2))


def misplaced(path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield ways to replace a file by a valid one of another experiment, split or kind."""
    kind = {".parquet": _records, ".safetensors": _network, ".json": _json, ".csv": _csv}
    yield from kind[path.suffix](path)


def _other(provenance: dict[str, Any]) -> dict[str, Any]:
    """The provenance of another experiment: every checksum differs."""
    return {key: "0" * 64 if len(str(value)) == 64 else value for key, value in provenance.items()}


def _records(path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    records = read_records(path, logits=True)
    provenance = records.provenance
    other = {"calibration": "test", "test": "calibration"}[provenance["split"]]
    yield (
        "of another experiment",
        lambda: write_records(path, replace(records, provenance=_other(provenance))),
    )
    yield (
        "of another split",
        lambda: write_records(path, replace(records, provenance=provenance | {"split": other})),
    )
    yield "of another experiment, of fewer exits", lambda: write_records(path, _fewer(records))


def _fewer(records: Records) -> Records:
    exits = records.exits - 1
    return replace(
        records,
        uncertainty=records.uncertainty[:, :exits],
        prediction=records.prediction[:, :exits],
        logits=records.logits[:, :exits],
        provenance=_other(records.provenance) | {"exits": exits},
    )


def _network(path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    network, provenance = load_network(path)
    # The same data, but other weights: for steps that also read results of the original.
    yield "of another experiment", lambda: save_network(network, path, _other(provenance))
    seven = build_network(provenance["network"], 7, provenance["shape"])
    yield (
        "of another experiment, of fewer classes",
        lambda: save_network(seven, path, _other(provenance) | {"classes": 7}),
    )


def _json(path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    content = read_json(path)
    changed = content | {"experiment": "other"}
    if "identity" in content:
        changed["identity"] = _other(content["identity"])
    if "settings" in content:
        changed |= {"settings": content["settings"] | {"split_seed": 0}, "digest": "0" * 64}
    yield "of another experiment", lambda: write_json(path, changed)
    yield "of another kind", lambda: write_json(path, {})
    yield "of another name", lambda: _renamed(path, lambda place: write_json(place, content))


def _csv(path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    table = read_table(path, [])
    provenance = table.attrs["provenance"]
    yield "of another experiment", lambda: write_table(path, table, _other(provenance))
    yield "of another name", lambda: _renamed(path, lambda p: write_table(p, table, provenance))
    yield "without a row", lambda: write_table(path, table[:0], provenance)


def _renamed(path: Path, write: Callable[[Path], None]) -> None:
    other = path.with_name(f"other{path.suffix}")
    write(other)
    other.replace(path)


def content(path: Path) -> Any:
    """What a step reads from a file, to recognise damage that changes nothing."""
    if path.suffix == ".json":
        return read_json(path)
    if path.suffix == ".csv":
        return read_table(path, []).to_csv()
    if path.suffix == ".safetensors":
        network, provenance = load_network(path)
        weights = {name: value.tobytes() for name, value in _arrays(network)}
        return provenance, weights
    records = read_records(path, logits=True)
    columns = (
        records.index,
        records.label,
        records.uncertainty,
        records.prediction,
        records.logits,
    )
    return records.provenance, [(column.dtype, column.tobytes()) for column in columns]


def _arrays(network: MultiExitNetwork) -> Iterator[tuple[str, np.ndarray]]:
    yield from ((name, value.numpy()) for name, value in network.state_dict().items())
