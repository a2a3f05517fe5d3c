"""Ways in which an artifact may be broken, generated for any file that a stage reads."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from early_exit import networks
from early_exit.files import read_json, read_table, write_json, write_table
from early_exit.records import Records, read_records, write_records

FLIPS = 2
PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>\n"


def broken(path: Path) -> Iterator[tuple[str, bytes]]:
    """Bytes that are not the artifact, with what was done to it."""
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
    # In what every stage reads: the pages of an entropy, and the footer.
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    entropy = next(column for column in columns if column.path_in_schema == "entropy_1")
    start = min(entropy.dictionary_page_offset or size, entropy.data_page_offset)
    end = start + entropy.total_compressed_size
    yield from ((chance.randrange(start, end), chance.randrange(8)) for _ in range(FLIPS // 2))
    footer = int.from_bytes(path.read_bytes()[-8:-4], "little") + 8
    places = range(size - footer, size)
    yield from ((chance.choice(places), chance.randrange(8)) for _ in range(FLIPS // 2))


def foreign(path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """What puts a whole and sealed file there that does not belong there."""
    kind = {".parquet": _records, ".safetensors": _network, ".json": _json, ".csv": _csv}
    yield from kind[path.suffix](path)


def _other(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity of another experiment: all that is a checksum differs."""
    return {key: "0" * 64 if len(str(value)) == 64 else value for key, value in identity.items()}


def _records(path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    records = read_records(path, logits=True)
    identity = records.identity
    other = {"calibration": "test", "test": "calibration"}[identity["split"]]
    yield (
        "of another experiment",
        lambda: write_records(path, replace(records, identity=_other(identity))),
    )
    yield (
        "of another split",
        lambda: write_records(path, replace(records, identity=identity | {"split": other})),
    )
    yield "of another experiment, of fewer exits", lambda: write_records(path, _fewer(records))


def _fewer(records: Records) -> Records:
    exits = records.exits - 1
    return replace(
        records,
        entropy=records.entropy[:, :exits],
        prediction=records.prediction[:, :exits],
        logits=records.logits[:, :exits],
        identity=_other(records.identity) | {"exits": exits},
    )


def _network(path: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    network, identity = networks.load(path)
    # The same data, but other weights: for stages that also read what the right ones made.
    yield "of another experiment", lambda: networks.save(network, path, _other(identity))
    seven = networks.build(identity["network"], 7, identity["shape"])
    yield (
        "of another experiment, of fewer classes",
        lambda: networks.save(seven, path, _other(identity) | {"classes": 7}),
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
    identity = table.attrs["identity"]
    yield "of another experiment", lambda: write_table(path, table, _other(identity))
    yield "of another name", lambda: _renamed(path, lambda p: write_table(p, table, identity))
    yield "without a row", lambda: write_table(path, table[:0], identity)


def _renamed(path: Path, write: Callable[[Path], None]) -> None:
    other = path.with_name(f"other{path.suffix}")
    write(other)
    other.replace(path)


def content(path: Path) -> Any:
    """What a stage would take from a file, to tell damage that changes nothing."""
    if path.suffix == ".json":
        return read_json(path)
    if path.suffix == ".csv":
        return read_table(path, []).to_csv()
    if path.suffix == ".safetensors":
        network, identity = networks.load(path)
        weights = {name: value.tobytes() for name, value in _arrays(network)}
        return identity, weights
    records = read_records(path, logits=True)
    columns = (records.index, records.label, records.entropy, records.prediction, records.logits)
    return records.identity, [(column.dtype, column.tobytes()) for column in columns]


def _arrays(network: networks.MultiExitNetwork) -> Iterator[tuple[str, np.ndarray]]:
    yield from ((name, value.numpy()) for name, value in network.state_dict().items())
