"""Mutated checkpoints load with unchanged weights, or are an error in one line."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as serialized

from early_exit.networks import MultiExitNetwork, checkpoint
from early_exit.networks.build import build_network, describe_network
from early_exit.networks.checkpoint import load_network, trained_on_other
from early_exit.networks.state_file import CHECKSUM, METADATA_KEY, checksum_of
from fuzzing import CASES, generator, taken_or_refused

SHAPE = [3, 2, 2]
TINY = """
from torch import nn


class Tiny(nn.Module):
    def __init__(self, classes, width=6):
        super().__init__()
        self.stages = nn.ModuleList([
            nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.BatchNorm1d(width)),
            nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width)),
        ])
        self.heads = nn.ModuleList([nn.Linear(width, classes), nn.Linear(width, classes)])
"""
Random = np.random.Generator
# Replacements for any value.
ODD = (
    None,
    True,
    -1,
    0,
    1.5,
    10**12,
    2**63,
    10**400,
    "x",
    "\x1b[1m\n",
    "a\0b",
    [],
    [1],
    {},
    {"a": 1},
)
NAMES = ("checks", "own", "state_file", "", ".", "a.b", "../x.py:Tiny", "x\0.py:Tiny", "Tiny", ":")
DTYPES = ("F16", "BF16", "F64", "I8", "U8", "I64", "BOOL", "C64", "F8_E4M3", "F4", "X", "")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A folder with the trusted file of a small network."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.py").write_text(TINY)
    return tmp_path


def build() -> MultiExitNetwork:
    torch.manual_seed(0)
    return build_network("tiny.py:Tiny", 4, SHAPE)


def original() -> dict[str, torch.Tensor]:
    """Weights of all files before mutation."""
    generator = torch.Generator().manual_seed(1)
    state = build().state_dict()
    made = {key: torch.rand(value.shape, generator=generator) for key, value in state.items()}
    return {key: made[key].to(value.dtype) for key, value in state.items()}


def flipped(content: bytes, rng: Random) -> bytes:
    """Flipped bits, most of them in the header."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        near = rng.random() < 0.5
        offset = int(rng.integers(0, min(len(changed), 600) if near else len(changed)))
        changed[offset] ^= 1 << int(rng.integers(0, 8))
    return bytes(changed)


def cut(content: bytes, rng: Random) -> bytes:
    return content[: int(rng.integers(0, len(content)))]


def grown(content: bytes, rng: Random) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 200)))


def shuffled(content: bytes, rng: Random) -> bytes:
    """A piece moved to another offset."""
    start, stop, to = sorted(rng.integers(0, len(content), 3).tolist())
    return content[:start] + content[stop:to] + content[start:stop] + content[to:]


BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (flipped, flipped, cut, grown, shuffled)


def any_of(things: Any, rng: Random) -> Any:
    return things[int(rng.integers(0, len(things)))]


# --- safetensors -----------------------------------------------------------------------------


def rewritten(provenance: dict[str, Any], state: dict[str, torch.Tensor]) -> bytes:
    """A file of the workflow with any provenance."""
    noted = provenance | {CHECKSUM: checksum_of(provenance, state)}
    return serialized(state, {METADATA_KEY: json.dumps(noted, sort_keys=True)})


def provenance_of() -> dict[str, Any]:
    described = describe_network({"name": "tiny.py:Tiny"})
    return {**described, "classes": 4, "shape": SHAPE, "data": "d"}


def other_provenance(rng: Random) -> dict[str, Any]:
    """One key of the provenance replaced; the checksum still fits."""
    provenance = provenance_of()
    key = any_of((*provenance, "arguments", "cut"), rng)
    choices = (*ODD, *NAMES) if key == "network" else ODD
    if key == "shape":
        choices = (*ODD, [3, 2], [3, 2, -2], [3, 10**6, 10**6], [10**9] * 3, [3, 2, "2"])
    if key == "arguments":
        choices = (*ODD, {"width": 10**9}, {"width": "x"}, {"self": 1}, {"": 0}, {"classes": 3})
    provenance[key] = any_of(choices, rng)
    return provenance


def header_edited(content: bytes, rng: Random) -> bytes:
    """An entry of the header replaced."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    body = content[8 + length :]
    name = any_of([key for key in header if key != "__metadata__"], rng)
    entry = header[name]
    how = int(rng.integers(0, 7))
    if how == 0:
        entry["dtype"] = any_of((*DTYPES, *ODD), rng)
    elif how == 1:
        entry["shape"] = any_of((*ODD, [2**32, 2**32], [10**12], [-1], [0], ["3"]), rng)
    elif how == 2:
        entry["data_offsets"] = any_of((*ODD, [0, 2**62], [5, 1], [-4, 4], [0, 0]), rng)
    elif how == 3:
        header["__metadata__"] = any_of((*ODD, {METADATA_KEY: 5}, {METADATA_KEY: None}), rng)
    elif how == 4:
        header[name] = any_of(ODD, rng)
    elif how == 5:
        header[f"{name}{any_of(('x', '.y', ' '), rng)}"] = header.pop(name)
    text = json.dumps(header)
    if how == 6:
        # The same name twice.
        text = text.removesuffix("}") + f", {json.dumps(name)}: {json.dumps(entry)}}}"
    return len(text).to_bytes(8, "little") + text.encode() + body


def metadata_edited(rng: Random) -> bytes:
    deep = "[" * 100_000
    texts = ("[1]", "5", "null", "{", '"x"', "", "NaN", deep, "9" * 5000, '{"checksum": 1}', "{}")
    return serialized(original(), {METADATA_KEY: any_of(texts, rng)})


def length_edited(content: bytes, rng: Random) -> bytes:
    lengths = (0, 1, 7, len(content), 10**8, 2**40, 2**63, 2**64 - 1)
    return any_of(lengths, rng).to_bytes(8, "little") + content[8:]


def safetensors_file(rng: Random) -> bytes:
    valid = rewritten(provenance_of(), original())
    how = int(rng.integers(0, 6))
    if how == 0:
        return rewritten(other_provenance(rng), original())
    if how == 1:
        return metadata_edited(rng)
    if how == 2:
        return length_edited(valid, rng)
    if how in (3, 4):
        return header_edited(valid, rng)
    return any_of(BYTES, rng)(valid, rng)


# --- PyTorch ---------------------------------------------------------------------------------


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.called = function, arguments

    def __reduce__(self) -> Any:
        return self.called


def hostile(owned: Path, rng: Random) -> Any:
    return any_of(
        (
            Calls(exec, f"open({str(owned)!r}, 'w')"),
            Calls(Path.touch, owned),
            Calls(bytearray, 10**10),
            Calls(torch.zeros, 10**10),
            Calls(torch.load, "tiny.py"),
            Calls(OrderedDict, [("a", 1)]),
            Calls(torch.Tensor, 10**11),
            Calls(torch.Size, [10**18]),
            torch.nn.Linear(2, 2),
            np.float64(1.0),
            Random,
        ),
        rng,
    )


def odd_tensor(value: torch.Tensor, rng: Random) -> torch.Tensor:
    """The tensor in another form."""
    plain = value.float()
    makers: tuple[Callable[[], torch.Tensor], ...] = (
        lambda: plain.bool(),
        lambda: plain.to(torch.complex64),
        lambda: plain.to(torch.int8),
        lambda: plain.to(torch.uint8),
        lambda: plain.double(),
        lambda: plain.to(torch.float8_e4m3fn),
        lambda: plain.to_sparse(),
        lambda: plain.to("meta"),
        lambda: torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8),
        lambda: torch.zeros(1).expand(10**9),
        lambda: torch.zeros(0),
        lambda: torch.full_like(plain, float("nan")),
        lambda: plain[None],
        lambda: torch.nn.Parameter(plain, requires_grad=False),
        lambda: plain.t().contiguous().t() if plain.ndim == 2 else plain[..., None],
    )
    return any_of(makers, rng)()


PREFIXES = ("", "module.", "_orig_mod.", "model.", "module._orig_mod.", "a.b.c.d.", "stages.")


def other_state(owned: Path, rng: Random) -> Any:
    """A state dict with a fault, or in an external form."""
    state: Any = original()
    key = any_of(list(state), rng)
    how = int(rng.integers(0, 9))
    if how == 0:
        state[key] = odd_tensor(state[key], rng)
    elif how == 1:
        state[key] = any_of(ODD, rng)
    elif how == 2:
        state[any_of((0, None, (1, 2), b"x", "", "\x1b[0m\n", "z" * 5000), rng)] = state[key]
    elif how == 3:
        del state[key]
    elif how == 4:
        state["more"] = hostile(owned, rng)
    elif how == 5:
        state = any_of((list(state.values()), state[key], {}, "x", 5, None, {"a": {"b": 1}}), rng)
    elif how == 6:
        state = {f"{any_of(PREFIXES, rng)}{name}": value for name, value in state.items()}
    else:
        prefix = any_of(PREFIXES, rng)
        state = {f"{prefix}{name}": value for name, value in state.items()}
    for _ in range(int(rng.integers(0, 3))):
        name = any_of(("state_dict", "model", "ema", "optimizer", "x"), rng)
        beside = any_of(({}, {"epoch": 3}, {"optimizer": {"state": {0: torch.ones(2)}}}), rng)
        state = {name: state, **beside}
    return state


def torch_file(owned: Path, rng: Random) -> bytes:
    content = io.BytesIO()
    damaged = rng.random() < 0.5
    state = original() if damaged else other_state(owned, rng)
    legacy = rng.random() < 0.3
    if rng.random() < 0.1:
        return pickle.dumps(state, protocol=int(rng.integers(0, 6)))
    torch.save(state, content, _use_new_zipfile_serialization=not legacy)
    if not damaged:
        return content.getvalue()
    if not legacy and rng.random() < 0.3:
        return packed_anew(content, rng)
    if not legacy and rng.random() < 0.3:
        return another_number(content.getvalue(), rng)
    return any_of(BYTES, rng)(content.getvalue(), rng)


def another_number(content: bytes, rng: Random) -> bytes:
    """A flipped bit of a weight."""
    weights = any_of([value for value in original().values() if value.ndim], rng).numpy().tobytes()
    changed = bytearray(content)
    changed[changed.find(weights) + int(rng.integers(len(weights)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def packed_anew(content: io.BytesIO, rng: Random) -> bytes:
    """The archive with a record compressed, removed, renamed, doubled or changed."""
    new = io.BytesIO()
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(new, "w") as archive:
        records = [(record.filename, old.read(record)) for record in old.infolist()]
        index = int(rng.integers(0, len(records)))
        name, data = records[index]
        how = int(rng.integers(0, 6))
        # Other numbers with a checksum of their own would be another checkpoint.
        if how == 0 and data and "/data/" not in name:
            records[index] = (name, any_of(BYTES, rng)(data, rng))
        if how == 1:
            del records[index]
        if how == 2:
            names = ("../x", "a/data.pkl", "archive/data/99", f"{name}x")
            records[index] = (any_of(names, rng), data)
        if how == 3:
            records.append((f"again/{name}", data))
        for name, data in records:
            how_packed = zipfile.ZIP_DEFLATED if how == 4 else zipfile.ZIP_STORED
            archive.writestr(name, data, how_packed)
    return new.getvalue()


# --- expectations --------------------------------------------------------------------


def assert_as_it_was(network: MultiExitNetwork, fresh: list[int] | None = None) -> None:
    """Check that all weights are the original ones, except new heads and counters."""
    before, expected = build().state_dict(), original()
    for key, value in network.state_dict().items():
        kept = any(key.startswith(f"heads.{k}.") for k in fresh or [])
        wanted = before[key] if kept else expected[key]
        counter = key.endswith("num_batches_tracked")
        assert torch.equal(value, wanted) or counter, key


DOORS: tuple[str, ...] = ("load_checkpoint", "load_start", "load", "trained_on_other")


def through(door: str, path: Path) -> tuple[Any, str | None]:
    """The result of a loader for a file, or its message."""
    if door == "load":
        return taken_or_refused(load_network, path, ["tiny.py:Tiny"])
    if door == "trained_on_other":
        return taken_or_refused(trained_on_other, path, "d")
    network = build()
    fresh, refused = taken_or_refused(getattr(checkpoint, door), network, path)
    return (network, fresh), refused


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:Sparse ")
def test_a_mutated_file_loads_unchanged_or_is_an_error(tiny, tally):
    owned, taken, refused = tiny / "owned", 0, 0
    for case in range(CASES):
        rng = generator("checkpoints", case)
        kind = any_of(("safetensors", "pt"), rng)
        content = safetensors_file(rng) if kind == "safetensors" else torch_file(owned, rng)
        path = tiny / f"case.{any_of((kind, kind, kind, 'pt', 'safetensors'), rng)}"
        path.write_bytes(content)
        door = any_of(DOORS, rng)
        print(f"case {case}: {kind} through {door}")
        result, line = through(door, path)
        assert not owned.exists(), f"case {case} ran code"
        taken, refused = taken + (line is None), refused + (line is not None)
        if line is None and _has_checksums(content) and door != "trained_on_other":
            network, rest = result
            assert_as_it_was(network, rest if door == "load_start" else None)
    assert taken > CASES // 10
    assert refused > CASES // 3
    tally["fuzzed checkpoints"] += CASES


def _has_checksums(content: bytes) -> bool:
    """Whether changes are detected: in archives of torch.save, and files of the workflow."""
    return content.startswith(b"PK") or b"checksum" in content[:4000]
