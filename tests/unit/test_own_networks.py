"""A network from a file of the user's: found, made, adopted, kept, and told when it changed."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from early_exit import fingerprint, networks
from early_exit.errors import InputError
from early_exit.network_file import NetworkFile, network_file
from early_exit.networks import MultiExitNetwork

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
    """A folder with a network and what it imports; the working directory is above it."""
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "own"
    own.mkdir()
    (own / "net.py").write_text(PLAIN)
    (own / "net.v2.py").write_text(PLAIN)
    (own / "blocks.py").write_text(BLOCKS)
    return own


def forget() -> None:
    """What a process has read of files, for those that change within a test."""
    fingerprint._logic.cache_clear()
    fingerprint._imports.cache_clear()


def test_names_of_files_are_told_from_ours():
    assert network_file("branchynet") is None
    assert network_file("a/b.py:C") == NetworkFile(Path("a/b.py"), "C")


def test_a_plain_class_is_adopted(folder):
    network = networks.build("own/net.py:Net", 5, SHAPE, {"width": 6})
    assert isinstance(network, MultiExitNetwork)
    assert type(network).__name__ == "Net"
    assert network(torch.rand(2, *SHAPE)).shape == (2, 2, 5)
    # The keys are the user's own.
    assert network.state_dict()["stages.0.0.weight"].shape == (6, 3, 3, 3)
    assert not network.training


def test_its_own_rename_is_used(folder, tmp_path):
    network = networks.build("own/net.py:Renaming", 5, SHAPE)
    torch.save({f"module.{k}": v + 1 for k, v in network.state_dict().items()}, tmp_path / "w.pt")
    before = network.heads[0][2].bias.clone()
    networks.load_checkpoint(network, tmp_path / "w.pt")
    assert torch.equal(network.heads[0][2].bias, before + 1)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("own/gone.py:Net", {}, r"there is no file own/gone\.py"),
        ("own/net.v2.py:Net", {}, r"net\.v2\.py: has a dot in its name, .* to net_v2\.py$"),
        ("own/net.py:Nett", {}, r"no class or function Nett; did you mean Net\?"),
        ("own/net.py:Net", {"widht": 3}, r"takes no argument widht; did you mean width\?"),
        ("own/net.py:Net", {"classes": 3}, r"takes no argument classes"),
        ("own/net.py:Net", {"width": "x"}, r"cannot be made \(TypeError"),
        ("own/net.py:broken", {}, r"cannot be made \(ZeroDivisionError: division by zero\)"),
        ("own/net.py:strange", {"what": 3}, "int: no nn.Module"),
        ("branchynet", {"width": 3}, "branchynet: takes no argument width; it takes: none"),
    ],
)
def test_what_is_wrong_with_it_is_told_in_one_line(folder, name, arguments, message):
    with pytest.raises(InputError, match=message) as error:
        networks.build(name, 5, SHAPE, arguments)
    assert str(error.value).startswith(f"network {name}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def Net(:\n", "no Python that can be read"),
        ("import nowhere_to_be_found\n\nclass Net: pass\n", "cannot be imported .ModuleNotFound"),
        ("class Net: pass\n", "Net: no nn.Module"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    Path("wrong.py").write_text(text)
    with pytest.raises(InputError, match=rf"network wrong\.py:Net: .*{message}") as error:
        networks.build("wrong.py:Net", 5, SHAPE)
    assert "\n" not in str(error.value)


SETTINGS = {"name": "own/net.py:Net", "arguments": {"width": 3}, "checkpoint": None}


@pytest.fixture
def saved(folder, tmp_path):
    """A saved network of the file."""
    forget()
    network = networks.build("own/net.py:Net", 5, SHAPE, {"width": 3})
    identity = networks.described(SETTINGS) | {"classes": 5, "shape": SHAPE}
    path = tmp_path / "results/e/network/network.safetensors"
    networks.save(network, path, identity)
    yield network, path
    forget()


def test_it_is_loaded_again(saved):
    network, path = saved
    again, identity = networks.load(path)
    assert identity["network"] == "own/net.py:Net"
    assert identity["arguments"] == {"width": 3}
    images = torch.rand(2, *SHAPE)
    assert torch.equal(again(images), network(images))


def test_it_is_loaded_from_another_folder(saved, tmp_path, monkeypatch):
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    assert len(networks.load(saved[1])[0].heads) == 2


def test_a_file_that_changed_is_told(saved, folder):
    (folder / "blocks.py").write_text(BLOCKS + "\n# A remark.\n")
    forget()
    networks.load(saved[1])
    (folder / "blocks.py").write_text(BLOCKS.replace("nn.ReLU()", "nn.GELU()"))
    forget()
    with pytest.raises(InputError, match=r"own/net\.py was changed since this network was made"):
        networks.load(saved[1])
    (folder / "net.py").unlink()
    with pytest.raises(InputError, match=r"in own/net\.py, which is not there"):
        networks.load(saved[1])


def test_networks_of_ours_are_described_as_before(tmp_path):
    settings = {"name": "branchynet", "arguments": {}, "checkpoint": None}
    assert networks.described(settings) == {"network": "branchynet"}


def test_a_parameter_of_two_names_is_kept(tmp_path, monkeypatch):
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
    network = networks.build("twice.py:Twice", 5, SHAPE)
    settings = {"name": "twice.py:Twice"}
    identity = networks.described(settings) | {"classes": 5, "shape": SHAPE}
    networks.save(network, tmp_path / "n.safetensors", identity)
    again, _ = networks.load(tmp_path / "n.safetensors")
    assert again.fc is again.heads[1]
    assert torch.equal(again.fc.weight, network.fc.weight)
    # To begin with, either name will do.
    state = {"fc.weight": torch.ones(5, 192), "fc.bias": torch.ones(5)}
    torch.save(state, tmp_path / "w.pt")
    assert networks.load_start(network, tmp_path / "w.pt") == [0]
    assert (network.heads[1].weight == 1).all()


def test_what_is_known_of_it_lies_in_the_file(saved):
    with safe_open(saved[1], framework="pt") as file:
        identity = json.loads(file.metadata()["early_exit"])
    assert identity["source"] == NetworkFile(Path("own/net.py"), "Net").fingerprint()
