"""Networks from a user's file: found, built, adopted, saved, and refused after a change."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from early_exit.config import fingerprint
from early_exit.config.code_file import CodeFile, code_file
from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.networks.build import build_network, describe_network
from early_exit.networks.checkpoint import load_checkpoint, load_network, load_start, save_network

SHAPE = [3, 8, 8]
PLAIN = """
from torch import nn

from blocks import stage


class Net(nn.Module):
    def __init__(self, classes, width=4):
        super().__init__()
        self.stages = nn.ModuleList([stage(3, width), stage(width, width)])
        self.heads = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
            for _ in range(2)
        )

    def forward(self, images):
        raise AssertionError("not used")


def strange(shape, **others):
    return others["what"]


def broken(classes):
    return 1 / 0


class Renaming(Net):
    def rename(self, key):
        return key.removeprefix("module.")
"""
BLOCKS = """
from torch import nn


def stage(before, after):
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a network and its imports, in the working directory."""
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own"
    own.mkdir()
    (own / "net.py").write_text(PLAIN)
    (own / "net.v2.py").write_text(PLAIN)
    (own / "blocks.py").write_text(BLOCKS)
    return own


def forget() -> None:
    """Forget cached files that change within a test."""
    fingerprint._read.cache_clear()


def test_names_of_files_and_of_the_zoo():
    assert code_file("branchynet") is None
    assert code_file("a/b.py:C") == CodeFile(Path("a/b.py"), "C")


def test_a_plain_class_is_adopted(folder):
    network = build_network("own/net.py:Net", 5, SHAPE, {"width": 6})
    assert isinstance(network, MultiExitNetwork)
    assert type(network).__name__ == "Net"
    assert network(torch.rand(2, *SHAPE)).shape == (2, 2, 5)
    # The keys are the user's own.
    assert network.state_dict()["stages.0.0.weight"].shape == (6, 3, 3, 3)
    assert not network.training


def test_its_own_rename_is_used(folder, tmp_path):
    network = build_network("own/net.py:Renaming", 5, SHAPE)
    torch.save({f"module.{k}": v + 1 for k, v in network.state_dict().items()}, tmp_path / "w.pt")
    before = network.heads[0][2].bias.clone()
    load_checkpoint(network, tmp_path / "w.pt")
    assert torch.equal(network.heads[0][2].bias, before + 1)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("own/absent.py:Net", {}, r"there is no file own/absent\.py"),
        ("own/net.v2.py:Net", {}, r"net\.v2\.py: a dot in its name stands .* to net_v2\.py$"),
        ("own/net.py:Nett", {}, r"no class or function Nett; did you mean Net\?"),
        ("own/net.py:Net", {"widht": 3}, r"takes no argument widht; did you mean width\?"),
        ("own/net.py:Net", {"classes": 3}, r"takes no argument classes"),
        ("own/net.py:Net", {"width": "x"}, r"cannot be instantiated \(TypeError"),
        (
            "own/net.py:broken",
            {},
            r"cannot be instantiated \(ZeroDivisionError: division by zero\)",
        ),
        ("own/net.py:strange", {"what": 3}, "int: no nn.Module"),
        ("branchynet", {"width": 3}, "branchynet: takes no argument width; it takes: none"),
    ],
)
def test_faults_are_an_error_in_one_line(folder, name, arguments, message):
    with pytest.raises(InputError, match=message) as error:
        build_network(name, 5, SHAPE, arguments)
    assert str(error.value).startswith(f"network {name}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def Net(:\n", "not valid Python"),
        ("import nowhere_to_be_found\n\nclass Net: pass\n", "cannot be imported .ModuleNotFound"),
        ("import sys\n\nclass Net: pass\n\nsys.exit(0)\n", "cannot be imported .SystemExit: 0"),
        ("class Net: pass\n", "Net: no nn.Module"),
    ],
)
def test_other_files_are_an_error(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("wrong.py").write_text(text)
    with pytest.raises(InputError, match=rf"network wrong\.py:Net: .*{message}") as error:
        build_network("wrong.py:Net", 5, SHAPE)
    assert "\n" not in str(error.value)


TRUSTED = ["own/net.py:Net"]
SETTINGS = {"name": "own/net.py:Net", "arguments": {"width": 3}, "checkpoint": None}


@pytest.fixture
def saved(folder, tmp_path):
    """A saved network of the file."""
    forget()
    network = build_network("own/net.py:Net", 5, SHAPE, {"width": 3})
    provenance = describe_network(SETTINGS) | {"classes": 5, "shape": SHAPE}
    path = tmp_path / "results/e/network/network.safetensors"
    save_network(network, path, provenance)
    yield network, path
    forget()


def test_it_is_loaded_again(saved):
    network, path = saved
    again, provenance = load_network(path, TRUSTED)
    assert provenance["network"] == "own/net.py:Net"
    assert provenance["arguments"] == {"width": 3}
    images = torch.rand(2, *SHAPE)
    assert torch.equal(again(images), network(images))


def test_it_is_loaded_from_another_folder(saved, folder, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    assert len(load_network(saved[1], [f"{folder}/net.py:Net"])[0].heads) == 2


def test_doubts_are_warnings_when_it_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("blocks.py").write_text(BLOCKS, encoding="utf-8")
    probable = PLAIN.replace(
        "nn.Linear(width, classes))", "nn.Linear(width, classes), nn.Softmax(1))"
    )
    Path("probable.py").write_text(probable, encoding="utf-8")
    warnings = []
    build_network("probable.py:Net", 5, SHAPE, warn=warnings.append)
    assert [line.split(" (")[0] for line in warnings] == [
        f"network probable.py:Net: head {k}: returns probabilities" for k in (1, 2)
    ]


def test_a_changed_file_is_an_error(saved, folder):
    (folder / "blocks.py").write_text(BLOCKS + "\n# A remark.\n")
    forget()
    load_network(saved[1], TRUSTED)
    (folder / "blocks.py").write_text(BLOCKS.replace("nn.ReLU()", "nn.GELU()"))
    forget()
    with pytest.raises(InputError, match=r"own/net\.py was changed since this network was saved"):
        load_network(saved[1], TRUSTED)
    (folder / "net.py").unlink()
    with pytest.raises(InputError, match=r"in own/net\.py, which is missing"):
        load_network(saved[1], TRUSTED)


def test_provenance_of_networks_of_the_zoo_is_unchanged(tmp_path):
    settings = {"name": "branchynet", "arguments": {}, "checkpoint": None}
    assert describe_network(settings) == {"network": "branchynet"}


def test_a_parameter_with_two_names_is_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("twice.py").write_text(
        "from torch import nn\n"
        "class Twice(nn.Module):\n"
        "    def __init__(self, classes):\n"
        "        super().__init__()\n"
        "        self.fc = nn.Linear(192, classes)\n"
        "        self.stages = nn.ModuleList([nn.Flatten(), nn.Identity()])\n"
        "        self.heads = nn.ModuleList([nn.Linear(192, classes), self.fc])\n"
    )
    forget()
    network = build_network("twice.py:Twice", 5, SHAPE)
    settings = {"name": "twice.py:Twice"}
    provenance = describe_network(settings) | {"classes": 5, "shape": SHAPE}
    save_network(network, tmp_path / "n.safetensors", provenance)
    again, _ = load_network(tmp_path / "n.safetensors", ["twice.py:Twice"])
    assert again.fc is again.heads[1]
    assert torch.equal(again.fc.weight, network.fc.weight)
    # As a start of training, either name suffices.
    state = {"fc.weight": torch.ones(5, 192), "fc.bias": torch.ones(5)}
    torch.save(state, tmp_path / "w.pt")
    assert load_start(network, tmp_path / "w.pt") == [0]
    assert (network.heads[1].weight == 1).all()


def test_the_provenance_is_in_the_file(saved):
    with safe_open(saved[1], framework="pt") as file:
        provenance = json.loads(file.metadata()["early_exit"])
    assert provenance["source"] == CodeFile(Path("own/net.py"), "Net").fingerprint()


def test_a_missing_file_is_an_error():
    with pytest.raises(InputError, match=r"there is no file .*x\.py"):
        code_file("~nobody-at-all/x.py:Net").check()
