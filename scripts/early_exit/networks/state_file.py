"""Weights from a file: safetensors or a PyTorch state dict, recognised by its contents.

No code in the file is run. What torch would accept but weights do not need (other classes, records
that are compressed or larger than the file) is refused before torch reads it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any

import torch
import yaml

from early_exit.errors import InputError, plain, reason_of
from early_exit.io.weight_files import in_folder, is_index, weight_map
from early_exit.networks.pickled import classes

METADATA_KEY = "early_exit"
CHECKSUM = "checksum"
# Key of the checksum before 0.2.0.
FORMER_CHECKSUM = "seal"
SAFETENSORS, ZIP, LEGACY = "safetensors", "zip", "legacy"
# Limit of the format.
LONGEST_HEADER = 100_000_000
# First bytes of files of torch.save before it wrote archives.
MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"

ANEW = (
    "fetch it again or save it again, as a PyTorch state dict of plain tensors or a .safetensors"
    " file"
)
STATE_DICT = "where it was made, save only its weights: torch.save(network.state_dict(), path)"
REPACK = "unpack it if the checkpoint is inside; if not, torch.save(network.state_dict(), path)"
# First bytes of files that are often mistaken for a checkpoint; the kind of file; the remedy.
OTHER_FORMATS = (
    (
        rb"version https://git-lfs",
        "a git-lfs pointer, not the file",
        "fetch the file itself with `git lfs pull`, or by its download link",
    ),
    (
        rb"\s*(<!doctype html|<html|<head|<\?xml|<!--)",
        "a web page, not the file",
        "fetch the file itself, by its download link (raw or resolve in the address, not blob)",
    ),
    (
        rb"\s*[{\[]",
        "a JSON text",
        "use the file with the weights; of several files, their index, whose name ends with"
        " .index.json",
    ),
    (rb"\x1f\x8b|BZh|\xfd7zXZ\0|\x28\xb5\x2f\xfd|7z\xbc\xaf", "a compressed file", "unpack it"),
    (rb"\x89HDF\r\n", "an HDF5 file, as Keras writes them", ANEW),
    (rb"\x93NUMPY", "a NumPy array", ANEW),
    (rb"GGUF|ggml", "a GGUF file", ANEW),
)
# Classes and functions of a pickled state dict; torch checks them again. Training scripts keep
# their arguments in a namespace, a record of values, which are checked, too.
PLAIN = re.compile(
    r"argparse\.Namespace|collections\.(OrderedDict|Counter)|(builtins|__builtin__)\.(set|complex)|_codecs\.encode"
    r"|torch\.(\w*Storage|Size|device|[a-z][a-z0-9_]*|_utils\._rebuild_\w+|storage\.\w+"
    r"|nn\.parameter\.\w+|serialization\._get_layout|_tensor\._rebuild_from_type_v2)"
)
# Keys of a training's state with tensors that are no weights.
NO_WEIGHTS = re.compile(r"optim|sched|scaler|loops|callback|hyper|rng|history", re.IGNORECASE)
NESTED = 3
# Most names in a message.
MOST_SHOWN = 10
CHECKPOINT = "checkpoint"


@dataclass(frozen=True)
class State:
    """The weights in a file.

    Attributes
    ----------
    tensors
        By their names in the file; dense, on the CPU.
    provenance
        The workflow's metadata without the checksum, which is verified; empty for other files.
    notes
        Lines for the log about how they were found.
    chosen
        Whether they are those under the key that was given.
    """

    tensors: dict[str, torch.Tensor]
    provenance: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    chosen: bool = False


def read_state(path: Path, key: str | None = None, setting: str = CHECKPOINT) -> State:
    """The weights in a file, whatever its suffix.

    Parameters
    ----------
    path
        The file; or the index of several, ``*.index.json``.
    key
        Where the weights are in a file that has them more than once, such as ``model_ema``; or the
        beginning of their names.
    setting
        Name of the setting, for the advice to give a key.

    Raises
    ------
    InputError
        If it is no checkpoint, is damaged, contains more than tensors, or has no or several sets of
        weights under the key.
    """
    if is_index(path):
        state = _read_several(path)
    elif (kind := _kind(path)) is SAFETENSORS:
        state = _read_safetensors(path)
    else:
        state = State(*_weights_in(path, _read_pickled(path, kind), key, setting))
    if key is not None and not state.chosen:
        state = _beginning_with(state, key, path)
    for name, value in state.tensors.items():
        if problem := _not_plain(value):
            what, remedy = problem
            raise InputError(
                f"{in_line(path)}: no state dict of tensors: {shown(name)} is {what}", remedy
            )
    return state


def advice(path: Path, key: str, setting: str) -> str:
    """The setting that chooses the weights under a key in a file."""
    given = {"file": str(path), "key": key}
    written = yaml.safe_dump(given, default_flow_style=True, width=float("inf"), sort_keys=False)
    return f"{setting}: {plain(written.strip())}"


def _beginning_with(state: State, key: str, path: Path) -> State:
    """The weights whose names begin with a key, which is removed."""
    prefix = f"{key}."
    tensors = {k.removeprefix(prefix): v for k, v in state.tensors.items() if k.startswith(prefix)}
    if not tensors:
        begins = sorted({name.partition(".")[0] for name in state.tensors if "." in name})
        raise InputError(
            f"{in_line(path)}: has no weights under {shown(key)}",
            f"leave the key out, or give the beginning of names: {listed(begins)}",
        )
    return State(tensors, {}, (*state.notes, f"only those under {shown(key)}"), chosen=True)


def _read_several(path: Path) -> State:
    """The weights in all files of an index; each has those that the index says, and no others."""
    tensors: dict[str, torch.Tensor] = {}
    files = weight_map(path)
    for file, names in files.items():
        own = read_state(path.parent / file).tensors
        if unlike := sorted(own.keys() ^ set(names)):
            less = unlike[0] in names
            raise InputError(
                f"{in_line(path)}: {shown(file)} has {'no' if less else 'also'} {shown(unlike[0])},"
                f" which the index {'says' if less else 'does not say'}",
                "fetch the index and its files again: they are of different checkpoints",
            )
        tensors |= own
    return State(tensors, notes=(f"{len(files)} files of an index",))


def read_provenance(path: Path) -> dict[str, Any]:
    """The workflow's metadata of a file, with the checksum; empty for any other checkpoint.

    Raises
    ------
    InputError
        If it is no checkpoint, or if the metadata are damaged.
    """
    from safetensors import safe_open

    if _kind(path) is not SAFETENSORS:
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY, "{}")
    # A damaged or hostile file can make the reader raise anything.
    except Exception as error:
        raise no_checkpoint(path, reason_of(error)) from error
    try:
        provenance = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise no_checkpoint(path, f"its metadata cannot be read ({reason_of(error)})") from error
    if not isinstance(provenance, dict):
        raise no_checkpoint(path, f"its metadata are no JSON object, but {shown(text)}")
    return provenance


def no_checkpoint(path: Path, found: str, remedy: str = ANEW) -> InputError:
    """The error for a file that is no checkpoint but ``found``."""
    return InputError(
        f"{in_line(path)}: no checkpoint that can be read safely: {plain(found)}", remedy
    )


def in_line(path: Path) -> str:
    """A path as one printable line, for messages."""
    return plain(str(path))


def listed(names: Iterable[str], most: int = MOST_SHOWN) -> str:
    """Names from a file, of many the first."""
    found = [shown(name) for name in names]
    return ", ".join(found[:most]) + (", ..." if len(found) > most else "")


def shown(name: Any) -> str:
    """A name from a file, short and printable."""
    text = plain(str(name)) if isinstance(name, str) else plain(repr(name)[:100])
    return text if len(text) <= 80 else f"{text[:80]}..."


def checksum_of(provenance: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 of a provenance and of all weights with their names, types and shapes."""
    digest = hashlib.sha256(json.dumps(provenance, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        dense = value.detach().cpu().contiguous().reshape(-1)
        dense = torch.view_as_real(dense) if dense.is_complex() else dense
        digest.update(dense.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _kind(path: Path) -> str:
    """Format of a file, by its first bytes."""
    try:
        if path.exists() and not path.is_file():
            inside = in_folder(path)
            remedy = f"name the file in it, {inside}" if inside else "name the file itself"
            raise no_checkpoint(path, "a folder, or no regular file", remedy)
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(1024)
    except FileNotFoundError as error:
        raise InputError(f"{in_line(path)}: missing", "set the path of the checkpoint") from error
    # A path with a null character is a ValueError.
    except (OSError, ValueError) as error:
        raise no_checkpoint(path, reason_of(error)) from error
    if not start:
        raise no_checkpoint(path, "an empty file")
    of_torch = ZIP if start.startswith(b"PK\x03\x04") else LEGACY if MAGIC in start[:20] else None
    if of_torch and path.suffix == ".safetensors":
        # torch decides by the suffix.
        raise no_checkpoint(path, "a file of torch.save with another suffix", "rename it to .pt")
    if of_torch:
        return of_torch
    header = int.from_bytes(start[:8], "little")
    if start[8:9] == b"{" and header <= LONGEST_HEADER:
        if header > size - 8:
            raise no_checkpoint(path, "a truncated safetensors file")
        return SAFETENSORS
    if start[257:262] == b"ustar":
        raise no_checkpoint(path, "a tar archive", "unpack it")
    for begins, what, remedy in OTHER_FORMATS:
        if re.match(begins, start, re.IGNORECASE):
            raise no_checkpoint(path, what, remedy)
    return SAFETENSORS if path.suffix == ".safetensors" and start[:1] != b"\x80" else LEGACY


def _read_safetensors(path: Path) -> State:
    from safetensors.torch import load_file

    provenance = read_provenance(path)
    try:
        tensors = load_file(path)
    # KeyError for a type unknown to torch; otherwise the reader's own errors.
    except Exception as error:
        raise no_checkpoint(path, reason_of(error)) from error
    if not tensors:
        raise InputError(
            f"{in_line(path)}: no state dict of tensors: it contains none", "save it again"
        )
    checksum = provenance.pop(CHECKSUM, None) or provenance.pop(FORMER_CHECKSUM, None)
    if (provenance or checksum) and checksum != checksum_of(provenance, tensors):
        raise InputError(
            f"{in_line(path)}: damaged, or changed since it was saved (the checksum does not fit)",
            "delete it and run again, or fetch it again",
        )
    return State(tensors, provenance)


def _read_pickled(path: Path, kind: str) -> Any:
    """Contents of a file of ``torch.save``, read after all its classes were checked."""
    try:
        if kind is ZIP:
            record = _checked_archive(path)
            with zipfile.ZipFile(path) as archive, archive.open(record) as pickled:
                _check_classes(path, pickled, 1)
        else:
            _check_old_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Mapped: a claimed size takes no memory. torch verifies no checksums.
            with torch.serialization.safe_globals([argparse.Namespace]):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=kind is ZIP)
    except InputError:
        raise
    # A damaged or hostile file can make the readers raise anything.
    except Exception as error:
        raise no_checkpoint(path, _reason(error)) from error


def _reason(error: Exception) -> str:
    """torch's reason, without its advice to read the file unsafely."""
    found = re.search(r"WeightsUnpickler error: ([^\n]*?)(?: Please use |\n|$)", str(error))
    return found[1] if found else reason_of(error)


def _checked_archive(path: Path) -> str:
    """Name of the record with the pickle, in an undamaged archive of ``torch.save``."""
    try:
        opened = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise no_checkpoint(path, f"a truncated archive ({reason_of(error)})") from error
    with opened as archive:
        records = archive.infolist()
        names = [record.filename for record in records]
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if any(name.endswith(".npy") for name in names):
            raise no_checkpoint(path, "NumPy arrays", ANEW)
        if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
            raise no_checkpoint(path, "a TorchScript archive, which is code", STATE_DICT)
        if len(pickles) != 1:
            raise no_checkpoint(path, "a zip archive that torch.save did not write", REPACK)
        # torch writes uncompressed records; ones that claim more than the file would fill memory.
        claimed = sum(record.file_size for record in records)
        packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
        if packed or claimed > path.stat().st_size:
            raise no_checkpoint(path, "its records are compressed, or longer than the file")
        if damaged := archive.testzip():
            raise no_checkpoint(path, f"damaged: the checksum of its record {damaged} does not fit")
    return pickles[0]


def _check_old_file(path: Path) -> None:
    """Refuse what is not a file of ``torch.save`` in its format before archives."""
    # Mapped: a claimed length takes no memory.
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
        if MAGIC in mapped[:20]:
            # Five pickles: a magic number, two versions, the object, the keys of its tensors.
            _check_classes(path, mapped, 5)
            return
        try:
            _check_classes(path, mapped, 1)
        except ValueError as error:
            raise no_checkpoint(path, f"in no known format ({reason_of(error)})") from error
    raise no_checkpoint(path, "a pickle that torch.save did not write", STATE_DICT)


def _check_classes(path: Path, pickled: IO[bytes] | mmap, pickles: int) -> None:
    """Refuse a pickle with classes or functions that no state dict needs."""
    for _ in range(pickles):
        for name in classes(pickled):
            if not PLAIN.fullmatch(name):
                what = f"it contains a pickled object of {shown(name)}, not only plain tensors"
                raise no_checkpoint(path, what, STATE_DICT)


def _weights_in(
    path: Path, found: Any, wanted: str | None, setting: str
) -> tuple[dict[str, torch.Tensor], dict[str, Any], tuple[str, ...], bool]:
    """The only state dict in what was unpickled, or that under a key, as parts of a state."""
    if _is_state(found):
        return found, {}, (), False
    if not isinstance(found, dict):
        raise InputError(
            f"{in_line(path)}: no state dict of tensors, but a {type(found).__name__}", ANEW
        )
    inside = {".".join(keys): state for keys, state in _states(found, (), set())}
    beside = sum(isinstance(value, torch.Tensor) for value in found.values())
    if wanted in inside:
        return inside[wanted], {}, (f"taken from its {shown(wanted)}",), True
    if len(inside) > 1:
        names = listed(inside)
        if wanted is not None:
            raise InputError(
                f"{in_line(path)}: has no weights under {shown(wanted)}", f"name one of {names}"
            )
        raise InputError(
            f"{in_line(path)}: contains weights more than once ({names})",
            f"choose, such as {advice(path, next(iter(inside)), setting)}",
        )
    if inside and len(next(iter(inside.values()))) > beside:
        ((key, state),) = inside.items()
        return state, {}, (f"taken from its {shown(key)}",), False
    if any(isinstance(key, str) and "_packed_params" in key for key in found):
        raise InputError(
            f"{in_line(path)}: no state dict of tensors, but of packed, quantised weights",
            "use those from before quantisation",
        )
    strange = [key for key, value in found.items() if not isinstance(value, torch.Tensor)]
    strange = strange or [key for key in found if not isinstance(key, str)]
    what = "it is empty"
    if strange:
        what = f"{shown(strange[0])} is a {type(found[strange[0]]).__name__}"
        named = isinstance(strange[0], str)
        what = what if named else f"its key {shown(strange[0])} is a {type(strange[0]).__name__}"
    raise InputError(
        f"{in_line(path)}: no state dict of tensors: {what}", "save only network.state_dict()"
    )


def _is_state(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and bool(found)
        and all(isinstance(key, str) for key in found)
        and all(isinstance(value, torch.Tensor) for value in found.values())
    )


def _states(
    found: dict[Any, Any], within: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], dict[str, torch.Tensor]]]:
    """State dicts nested in a training's state, each once, with their keys."""
    for key, value in found.items():
        named = isinstance(key, str) and not NO_WEIGHTS.search(key)
        if not named or not isinstance(value, dict) or id(value) in seen:
            continue
        seen.add(id(value))
        if _is_state(value):
            yield (*within, key), value
        elif len(within) + 1 < NESTED:
            yield from _states(value, (*within, key), seen)


def _not_plain(value: torch.Tensor) -> tuple[str, str] | None:
    """What a tensor is instead of plain numbers in memory, and the remedy; or ``None``."""
    if value.is_meta:
        return "a meta tensor, which has no values", "save the network itself, not its outline"
    if value.layout is not torch.strided:
        return f"sparse ({plain(str(value.layout))})", "save it after to_dense()"
    if value.is_quantized or value.is_nested:
        return "quantised or nested", "save it after dequantize() or as plain tensors"
    return None
