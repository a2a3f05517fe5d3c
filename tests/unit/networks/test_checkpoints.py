"""External checkpoints: usual forms are loaded, others are an error in one line."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import pickle
import re
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork, checkpoint
from early_exit.networks.build import build_network, describe_network
from early_exit.networks.checkpoint import (
    load_checkpoint,
    load_network,
    load_start,
    save_network,
    trained_on_other,
)
from early_exit.networks.state_file import CHECKSUM, METADATA_KEY, checksum_of
from fuzzing import taken_or_refused

State = dict[str, torch.Tensor]


class Normed(MultiExitNetwork):
    """Two stages with batch norm, two heads; images of 3x2x2."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        first = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6))
        second = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))
        self.stages = nn.ModuleList([first, second])
        self.heads = nn.ModuleList([nn.Linear(6, 4), nn.Linear(6, 4)])


class Tied(Normed):
    """Two exits that share one head."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.heads[1] = self.heads[0]


def made(seed: int = 1) -> State:
    """Weights that fit :class:`Normed`."""
    return Normed(seed).state_dict()


def loaded(path: Path, door: str = "load_checkpoint", kind: type[Normed] = Normed) -> str | None:
    """``None`` if the file loads as exactly the weights of ``made``, otherwise the message."""
    network = kind()
    _, refused = taken_or_refused(getattr(checkpoint, door), network, path)
    if refused is None:
        state = made()
        assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items() if k in state)
    return refused


def kept(folder: Path, content: object, name: str = "w.pt", **how: bool) -> Path:
    torch.save(content, folder / name, **how)
    return folder / name


# --- loaded ------------------------------------------------------------------------------------


def renamed(change) -> State:
    return {change(key): value for key, value in made().items()}


def without_counters() -> State:
    return {k: v for k, v in made().items() if not k.endswith("num_batches_tracked")}


LOADED = {
    "state_dict": (lambda: {"state_dict": made(), "epoch": 3, "best": 0.9}, "from its state_dict"),
    "model": (lambda: {"model": made(), "args": {"lr": 0.1}, "step": 5}, "from its model"),
    "model_state_dict": (
        lambda: {
            "model_state_dict": made(),
            "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": []},
            "scheduler": {"milestones": Counter({3: 1})},
        },
        "from its model_state_dict",
    ),
    "named optimizer": (
        lambda: {"model": made(), "optim": {"state": {"w": {"exp_avg": torch.ones(2)}}}},
        "from its model",
    ),
    "within": (lambda: {"model": {"state_dict": made(), "epoch": 3}}, "from its model.state_dict"),
    "only ema": (
        lambda: {"model_ema": {"n_averaged": torch.tensor(3), **renamed(lambda k: f"module.{k}")}},
        "from its model_ema; names without module.",
    ),
    "lightning": (
        lambda: {
            "state_dict": renamed(lambda k: f"model.{k}"),
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
            "pytorch-lightning_version": "2.0",
        },
        "from its state_dict; names without model.",
    ),
    "module.": (lambda: renamed(lambda k: f"module.{k}"), "names without module."),
    "_orig_mod.": (lambda: renamed(lambda k: f"_orig_mod.{k}"), "names of wrappers left out"),
    "module._orig_mod.": (
        lambda: renamed(lambda k: f"module._orig_mod.{k}"),
        "wrappers left out (torch.compile and such); names without module.",
    ),
    "a part compiled": (
        lambda: renamed(lambda k: k.replace("stages.0.", "stages.0._orig_mod.")),
        "names of wrappers left out",
    ),
    "arguments": (
        lambda: {"state_dict": made(), "args": argparse.Namespace(lr=0.1, betas=(0.9, 0.99))},
        "from its state_dict",
    ),
    "model.": (lambda: renamed(lambda k: f"model.{k}"), "names without model."),
    "two prefixes": (lambda: renamed(lambda k: f"net.model.{k}"), "without net.; names"),
    "before num_batches_tracked": (without_counters, "without num_batches_tracked"),
    "auxiliary heads": (
        lambda: made() | {"aux1.conv.weight": torch.ones(2), "AuxLogits.fc.bias": torch.ones(2)},
        "auxiliary heads left out (AuxLogits.fc.bias, aux1.conv.weight)",
    ),
    "parameters": (
        lambda: {k: nn.Parameter(v, requires_grad=False) for k, v in made().items()},
        "",
    ),
    "double": (
        lambda: {k: v.double() if v.is_floating_point() else v for k, v in made().items()},
        "16 converted from float64 to float32",
    ),
    "not contiguous": (
        lambda: {k: v.t().contiguous().t() if v.ndim == 2 else v for k, v in made().items()},
        "",
    ),
}


@pytest.mark.parametrize("door", ["load_checkpoint", "load_start"])
@pytest.mark.parametrize("case", LOADED)
def test_usual_forms_are_loaded_and_logged(tmp_path, caplog, case, door):
    content, note = LOADED[case]
    content = content()
    with caplog.at_level(logging.INFO):
        assert loaded(kept(tmp_path, content), door) is None
    assert note in caplog.text
    assert bool(note) == bool(caplog.text)


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.h5", "w"])
def test_the_suffix_does_not_decide_the_format(tmp_path, name):
    assert loaded(kept(tmp_path, made(), name)) is None
    save_file(made(), tmp_path / name)
    assert loaded(tmp_path / name) is None


@pytest.mark.parametrize("archived", [True, False])
def test_a_torch_file_with_another_suffix_is_an_error(tmp_path, archived):
    path = kept(tmp_path, made(), "w.safetensors", _use_new_zipfile_serialization=archived)
    assert "a file of torch.save with another suffix; rename it to .pt" in loaded(path)
    assert loaded(path.rename(tmp_path / "w.pt")) is None


def test_an_old_torch_file_is_loaded(tmp_path):
    path = kept(tmp_path, {"state_dict": made()}, _use_new_zipfile_serialization=False)
    assert loaded(path) is None


def test_half_precision_is_loaded(tmp_path):
    network = Normed()
    halves = {k: v.half() if v.is_floating_point() else v for k, v in made().items()}
    load_checkpoint(network, kept(tmp_path, halves))
    assert torch.equal(network.heads[0].weight, made()["heads.0.weight"].half().float())


def test_one_name_of_a_tied_parameter_suffices_unless_values_differ(tmp_path):
    state = Tied(1).state_dict()
    both = kept(tmp_path, state, "both.pt")
    one = kept(tmp_path, {k: v for k, v in state.items() if "heads.1" not in k}, "one.pt")
    for path in (both, one):
        network = Tied()
        load_checkpoint(network, path)
        assert torch.equal(network.heads[1].weight, state["heads.0.weight"])
    other = kept(tmp_path, state | {"heads.1.bias": torch.ones(4)}, "other.pt")
    with pytest.raises(InputError, match=r"heads\.0\.bias and heads\.1\.bias differ, but are one"):
        load_checkpoint(Tied(), other)


def test_two_names_for_one_parameter_are_an_error(tmp_path):
    class Renaming(Normed):
        @staticmethod
        def rename(key):
            return key.replace("classifier.", "heads.1.")

    path = kept(tmp_path, made() | {"classifier.bias": torch.ones(4)})
    with pytest.raises(InputError, match=r"has heads\.1\.bias and classifier\.bias, which are the"):
        load_checkpoint(Renaming(), path)


def test_a_failing_rename_is_an_error(tmp_path):
    class Failing(Normed):
        @staticmethod
        def rename(key):
            return {"x": "y"}[key]

    with pytest.raises(InputError, match=r"w\.pt: the network's rename fails \(KeyError: 'stages"):
        load_checkpoint(Failing(), kept(tmp_path, made()))


# --- refused ----------------------------------------------------------------------------------


def with_one(value: torch.Tensor, key: str = "heads.0.weight") -> State:
    return made() | {key: value}


REFUSED = {
    "int8": (
        lambda: with_one(torch.ones(4, 6, dtype=torch.int8)),
        r"heads\.0\.weight is int8, the network's is float32; quantised weights are useless",
    ),
    "float8": (
        lambda: with_one(torch.ones(4, 6).to(torch.float8_e4m3fn)),
        r"heads\.0\.weight is float8_e4m3fn, the network's is float32; quantised weights are",
    ),
    "bool": (lambda: with_one(torch.ones(4, 6) > 0), r"heads\.0\.weight is bool, the network's is"),
    "complex": (
        lambda: with_one(torch.ones(4, 6, dtype=torch.complex64)),
        r"heads\.0\.weight is complex64, the network's is float32",
    ),
    "a counter of floats": (
        lambda: with_one(torch.tensor(0.5), "stages.0.2.num_batches_tracked"),
        r"num_batches_tracked is float32, the network's is int64; use weights of the same kind",
    ),
    "no numbers": (
        lambda: with_one(torch.full((4, 6), float("nan"))),
        r"heads\.0\.weight contains values that are infinite or NaN",
    ),
    "a variance below 0": (
        lambda: with_one(-torch.ones(6), "stages.0.2.running_var"),
        r"stages\.0\.2\.running_var contains variances that are negative or NaN",
    ),
    "too large": (
        lambda: with_one(torch.full((4, 6), 1e300, dtype=torch.float64)),
        r"heads\.0\.weight contains values that are infinite or NaN \(as float32\)",
    ),
    "sparse": (lambda: with_one(torch.eye(4, 6).to_sparse()), r"is sparse .*to_dense\(\)"),
    "meta": (
        lambda: with_one(torch.ones(4, 6, device="meta")),
        r"is a meta tensor, which has no v",
    ),
    "expanded": (
        lambda: with_one(torch.ones(1).expand(10**12)),
        r"1 of another shape .*: \[1000000",
    ),
    "a whole number as key": (lambda: made() | {3: torch.ones(1)}, r"its key 3 is a int"),
    "a number among them": (
        lambda: made() | {"epoch": 3},
        r"epoch is a int; save only network\.state",
    ),
    "a list": (lambda: list(made().values()), r"no state dict of tensors, but a list"),
    "one tensor": (lambda: torch.ones(3), r"no state dict of tensors, but a Tensor"),
    "several": (
        lambda: {"model": made(), "model_ema": made(2)},
        r"contains weights more than once \(model, model_ema\); choose, such as ",
    ),
    "two networks": (
        lambda: {"generator": made(), "judge": {"w": torch.ones(2)}},
        r"more than once \(generator, judge\)",
    ),
    "settings as an object": (
        lambda: {"model": made(), "args": argparse.Namespace(path=Path("x"))},
        r"a pickled object of pathlib\S*\.PosixPath, not only plain tensors; where it was made",
    ),
    "a number of NumPy": (
        lambda: {"model": made(), "best": np.float64(0.9)},
        r"contains a pickled object of numpy\.\S+scalar",
    ),
    "the full network": (
        lambda: Normed(),
        r"contains a pickled object of test_checkpoints\.Normed",
    ),
    "numbers of another library": (
        lambda: {key: value.numpy() for key, value in made().items()},
        r"contains a pickled object of numpy\.\S+_reconstruct",
    ),
    "packed": (
        lambda: {"fc._packed_params.dtype": torch.qint8, "fc.scale": torch.ones(1)},
        r"no state dict of tensors, but of packed, quantised weights; use those from before",
    ),
    "memory": (lambda: made() | {"x": bytearray(5)}, r"pickled object of \w+\.bytearray"),
}


@pytest.mark.filterwarnings("ignore:Sparse ")
@pytest.mark.parametrize("door", ["load_checkpoint", "load_start"])
@pytest.mark.parametrize("case", REFUSED)
def test_other_contents_are_an_error(tmp_path, case, door):
    content, message = REFUSED[case]
    assert re.search(message, loaded(kept(tmp_path, content()), door) or "taken")


@pytest.mark.parametrize(("door", "setting"), [("checkpoint", None), ("start", "start_from")])
@pytest.mark.parametrize("nested", [["model"], ["a", "b"], ["x: y"]])
def test_the_advice_for_several_states_works(tmp_path, nested, door, setting):
    state: object = made()
    for key in reversed(nested):
        state = {key: state}
    path = kept(tmp_path, {**state, "zzz": {"w": torch.ones(2)}}, "our, own.pt")
    message = loaded(path, f"load_{door}")
    advised = yaml.safe_load(message.partition("choose, such as ")[2])
    assert advised == {setting or door: {"file": str(path), "key": ".".join(nested)}}
    network = Normed()
    getattr(checkpoint, f"load_{door}")(network, path, ".".join(nested))
    assert torch.equal(network.heads[0].weight, made()["heads.0.weight"])


@pytest.mark.parametrize(
    "more", [["more"], ["more.weight", "more.bias"], ["stages.9.x", "other.a", "other.b"]]
)
@pytest.mark.parametrize("prefix", ["", "module.", "net.model."])
def test_the_remedy_for_unknown_names_works(tmp_path, more, prefix):
    state = made() | {key: torch.zeros(1) for key in more}
    state = {prefix + key: value for key, value in state.items()}
    message = loaded(kept(tmp_path, state), "load_start")
    assert f"{len(more)} unknown (" in message
    command = re.search(r"(\{k: v for .*\})$", message)[1]
    torch.save(eval(command, {"state": state}), tmp_path / "w.pt")
    assert loaded(tmp_path / "w.pt", "load_start") is None


def test_only_parameters_beside_the_network_are_reported(tmp_path):
    """As saved by a training module that contains the network and a loss with weights."""
    state = {f"model.{key}": value for key, value in made().items()}
    message = loaded(kept(tmp_path, state | {"criterion.weight": torch.ones(4)}))
    assert "(names without model.) does not fit the network: parameters 1 unknown (crit" in message
    assert message.endswith("if not k.startswith(('criterion.',))}")


def test_a_key_with_endless_hashing_is_an_error(tmp_path):
    """A key of tuples that contain another twice, forty levels deep: 2^40 steps to hash."""
    pickled = b"\x80\x02}K\x01\x85"
    for k in range(40):
        pickled += b"q%ch%c\x86" % (k, k)
    (tmp_path / "w.pt").write_bytes(
        archive(("a/data.pkl", pickled + b"K\x01s."), ("a/version", b"3"))
    )
    assert "its tuples are nested too deeply" in loaded(tmp_path / "w.pt")


def test_the_remedy_for_a_head_of_other_classes_works(tmp_path):
    state = made() | {"heads.1.weight": torch.ones(9, 6), "heads.1.bias": torch.ones(9)}
    message = loaded(kept(tmp_path, state), "load_start")
    assert (
        "(heads.1.bias, heads.1.weight: [9], not [4]); remove all weights of head 2 from" in message
    )
    state = {key: value for key, value in state.items() if not key.startswith("heads.1.")}
    network = Normed()
    assert load_start(network, kept(tmp_path, state)) == [1]


# --- other formats --------------------------------------------------------------


def archive(*records: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", how) as opened:
        for name, data in records:
            opened.writestr(name, data)
    return content.getvalue()


def tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as opened:
        opened.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return content.getvalue()


def arrays() -> bytes:
    content = io.BytesIO()
    np.savez(content, a=np.ones(3))
    return content.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
ELSE = {
    "empty": (b"", "an empty file; fetch it again or"),
    "pointer": (
        POINTER,
        "a git-lfs pointer, not the file; fetch the file itself with `git lfs pull`",
    ),
    "page": (b"\n<!DOCTYPE html>\n<html>", "a web page, not the file; fetch the file itself"),
    "old page": (b"<HTML><BODY>404", "a web page, not the file"),
    "json": (b'{"weight_map": {}}', "a JSON text; use the file with the weights"),
    "gzip": (b"\x1f\x8b\x08\0rest", "a compressed file; unpack it"),
    "tar": (tar(), "a tar archive; unpack it"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(80), "an HDF5 file, as Keras writes them"),
    "npy": (b"\x93NUMPY\1\0", "a NumPy array"),
    "npz": (arrays(), "NumPy arrays"),
    "zip": (archive(("a/w.pt", b"x")), "a zip archive that torch.save did not write; unpack it if"),
    "script": (
        archive(("m/data.pkl", b""), ("m/constants.pkl", b""), ("m/code/x.py", b"")),
        "a TorchScript archive, which is code; where it was made, save only its weights",
    ),
    "packed": (
        archive(("m/data.pkl", bytes(10**6)), how=zipfile.ZIP_DEFLATED),
        "its records are compressed, or longer than the file",
    ),
    "pickle": (pickle.dumps({"a": [1, 2]}), "a pickle that torch.save did not write"),
    "hostile": (pickle.dumps(print), "it contains a pickled object of builtins.print"),
    "text": (b"hello, these are no weights\n", "in no known format"),
    "noise": (bytes(range(255, 100, -1)), "in no known format"),
}


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("case", ELSE)
def test_other_formats_are_an_error(tmp_path, case, name):
    content, expected = ELSE[case]
    (tmp_path / name).write_bytes(content)
    if name == "w.safetensors" and case in ("text", "noise"):
        expected = "SafetensorError"
    if name == "w.safetensors" and content.startswith(b"PK"):
        expected = "a file of torch.save with another suffix"
    message = loaded(tmp_path / name)
    assert f"{name}: no checkpoint that can be read safely: {expected}" in message
    assert "only if you t" not in message


def test_a_truncated_file_is_an_error(tmp_path):
    kept(tmp_path, made())
    save_file(made(), tmp_path / "w.safetensors")
    for name, message in [("w.pt", "a truncated archive"), ("w.safetensors", "")]:
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-100])
        assert f"no checkpoint that can be read safely: {message}" in loaded(path)


def test_a_folder_and_a_pipe_are_an_error(tmp_path):
    assert "a folder, or no regular file" in loaded(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "a folder, or no regular file" in loaded(tmp_path / "pipe")
    assert "missing" in loaded(tmp_path / "absent.pt")


@pytest.mark.parametrize("name", ["two\nlines.pt", "red\x1b[31m.pt", "no\0byte.pt"])
def test_a_message_is_one_line_for_any_file_name(tmp_path, name):
    if "\0" not in name:
        (tmp_path / name).write_bytes(b"x")
    assert "no checkpoint that can be read safely" in loaded(tmp_path / name)


def test_a_changed_weight_in_a_torch_archive_is_detected(tmp_path):
    path = kept(tmp_path, made())
    content = bytearray(path.read_bytes())
    offset = content.find(made()["heads.0.weight"].numpy().tobytes())
    content[offset] ^= 1
    path.write_bytes(content)
    assert "damaged: the checksum of its record w/data/" in loaded(path)


def test_records_that_claim_more_than_the_file_are_an_error(tmp_path):
    """A record of 96 bytes claims two gibibytes."""
    path = kept(tmp_path, made())
    content = path.read_bytes()
    size = len(made()["heads.0.weight"].numpy().tobytes())
    large = content.replace(size.to_bytes(4, "little"), (2**31).to_bytes(4, "little"))
    assert large != content
    path.write_bytes(large)
    assert "no checkpoint that can be read safely" in loaded(path)


# --- metadata of the workflow -----------------------------------------------------


def noted(folder: Path, text: str) -> Path:
    path = folder / "network.safetensors"
    save_file(made(), path, {METADATA_KEY: text})
    return path


TEXTS = ("[1]", "5", "null", '"x"', "{", "", "[" * 100_000, "9" * 5000)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("door", ["load", "trained_on_other", "load_checkpoint"])
def test_other_metadata_are_an_error_in_one_line(tmp_path, text, door):
    path = noted(tmp_path, text)
    calls = {
        "load": lambda: load_network(path),
        "trained_on_other": lambda: trained_on_other(path, "d"),
        "load_checkpoint": lambda: load_checkpoint(Normed(), path),
    }
    _, refused = taken_or_refused(calls[door])
    assert "its metadata" in refused
    assert len(refused) < 600


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": 5}, "network is 5"),
        ({"network": "checks"}, "network checks: is no network of this project"),
        ({"network": "../../compact"}, "is no network of this project"),
        ({"network": "os"}, "network os: is no network of this project"),
        ({"network": "branchynet"}, "does not fit the network in its provenance"),
        ({"classes": 0}, "classes is 0"),
        ({"classes": True}, "classes is True"),
        ({"classes": 10**9}, "does not fit the network in its provenance"),
        ({"classes": 10**12}, "classes is 1000000000000"),
        ({"shape": [3, 32]}, r"shape is \[3, 32\]"),
        ({"shape": [3, 10**6, 10**6]}, r"shape is \[3, 1000000, 1000000\]"),
        ({"shape": "x"}, "shape is x"),
        ({"arguments": [1]}, r"arguments is \[1\]"),
        ({"arguments": {"width": 3}}, "compact: takes no argument width"),
        ({"cut": 9}, "has no exit 9"),
        ({"cut": 0}, "cut is 0"),
        ({"cut": "1"}, "cut is 1"),
    ],
)
def test_an_impossible_provenance_is_an_error_despite_a_valid_checksum(tmp_path, change, message):
    """Within the limits of a case: no memory is allocated for a file's claims."""
    state = build_network("compact", 10, [3, 32, 32]).state_dict()
    provenance = {"network": "compact", "classes": 10, "shape": [3, 32, 32]} | change
    text = json.dumps(provenance | {CHECKSUM: checksum_of(provenance, state)}, sort_keys=True)
    save_file(state, tmp_path / "network.safetensors", {METADATA_KEY: text})
    _, refused = taken_or_refused(load_network, tmp_path / "network.safetensors")
    assert re.search(message, refused or "taken")


def test_complex_weights_are_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("turns.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Head(nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.weight = nn.Parameter(torch.randn(12, classes, dtype=torch.complex64))\n"
        "    def forward(self, x):\n"
        "        return (x.to(torch.complex64) @ self.weight).real\n"
        "class Turns(nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.stages = nn.ModuleList([nn.Flatten(), nn.Identity()])\n"
        "        self.heads = nn.ModuleList([Head(classes), Head(classes)])\n"
    )
    name = "turns.py:Turns"
    network = build_network(name, 4, [3, 2, 2])
    provenance = describe_network({"name": name}) | {"classes": 4, "shape": [3, 2, 2]}
    save_network(network, tmp_path / "n.safetensors", provenance)
    again, _ = load_network(tmp_path / "n.safetensors", [name])
    assert torch.equal(again.heads[0].weight, network.heads[0].weight)


def test_a_state_that_cannot_be_saved_is_an_error_before_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("more.py").write_text(
        "from torch import nn\n"
        "class Noting(nn.Linear):\n"
        "    def get_extra_state(self):\n"
        "        return {'seen': 3}\n"
        "    def set_extra_state(self, state):\n"
        "        pass\n"
        "class More(nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.stages = nn.ModuleList([nn.Flatten(), nn.Identity()])\n"
        "        self.heads = nn.ModuleList([Noting(12, classes), nn.Linear(12, classes)])\n"
    )
    with pytest.raises(
        InputError, match=r"its state has heads\.0\._extra_state, which is no plain"
    ):
        build_network("more.py:More", 4, [3, 2, 2])
