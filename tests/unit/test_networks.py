import os
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open

from early_exit import datasets, networks
from early_exit.cost import macs, price
from early_exit.engine import REFERENCE
from early_exit.errors import InputError
from early_exit.extraction import all_exits
from early_exit.networks import branchynet

SHAPE = [3, 32, 32]
CHECKPOINT = "weights/cifar10_branchyNet_m.h5"
IDENTITY = {"network": "branchynet", "classes": 10, "shape": SHAPE}


def published_state() -> dict[str, torch.Tensor]:
    """A state dict with the names of the published checkpoint, freshly initialised."""
    names = {}
    for key in branchynet.Network(10).state_dict():
        part, number, rest = key.split(".", 2)
        k = int(number) + 1
        if part == "stages":
            layer, leaf = rest.split(".")
            names[f"{layer}{k}.{leaf}"] = key
        elif k < 6:
            names[f"branch{k}.{rest}"] = key
        else:
            names[rest.replace("bn.", "bn7.")] = key
    state = branchynet.Network(10).state_dict()
    return {name: state[key].clone() for name, key in names.items()}


def test_cumulative_macs_are_those_of_the_design():
    network = networks.build("branchynet", 10, SHAPE)
    costs = price(network, SHAPE, [2, 3], 3, "entropy", REFERENCE)
    assert len(costs) == 2 * 3 * 6
    stages = costs[(costs.part == "stage") & (costs.batch_size == 3)].macs.to_numpy()
    heads = costs[(costs.part == "head") & (costs.batch_size == 3)].macs.to_numpy()
    cumulative = np.cumsum(stages + heads) / 1e6
    assert cumulative == pytest.approx([1.96, 11.63, 16.81, 26.33, 31.21, 40.96], abs=0.005)
    assert (costs.ms_per_sample > 0).all()
    assert ((costs.ms_low <= costs.ms_per_sample) & (costs.ms_per_sample <= costs.ms_high)).all()


def test_macs_by_hand():
    # 3x3x3 weights for each of 32 channels and 32x32 places.
    stage = branchynet.Network(10).stages[0].eval()
    assert macs(stage, torch.zeros(1, *SHAPE)) == 3 * 3 * 3 * 32 * 32 * 32
    assert macs(torch.nn.Linear(7, 5), torch.zeros(2, 7)) == 2 * 7 * 5


def test_every_exit_gives_a_logit_for_each_class():
    network = networks.build("branchynet", 7, SHAPE)
    images = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8)
    logits = all_exits(network, images, 2, REFERENCE)
    assert logits.shape == (5, 6, 7)
    np.testing.assert_allclose(all_exits(network, images, 5, REFERENCE), logits, atol=1e-5)


def test_pictures_of_another_shape_are_refused():
    with pytest.raises(
        InputError, match=r"branchynet: cannot take pictures of shape \[1, 28, 28\]"
    ):
        networks.build("branchynet", 10, [1, 28, 28])


def test_save_and_load(tmp_path):
    path = tmp_path / "network.safetensors"
    network = networks.build("branchynet", 10, SHAPE)
    networks.save(network, path, IDENTITY)
    again, identity = networks.load(path)
    assert identity == IDENTITY
    images = torch.rand(2, *SHAPE)
    assert torch.equal(again(images), network(images))
    first = path.read_bytes()
    networks.save(network, path, IDENTITY)
    assert path.read_bytes() == first


def test_published_names_are_understood(tmp_path):
    path = tmp_path / "c.pt"
    state = published_state()
    assert {"conv1.weight", "bn7.running_mean", "branch5.conv.bias", "fc5.weight"} <= state.keys()
    torch.save(state, path)
    network = networks.build("branchynet", 10, SHAPE)
    networks.load_checkpoint(network, path)
    assert torch.equal(network.stages[2].conv.weight, state["conv3.weight"])
    assert torch.equal(network.heads[5].bn.weight, state["bn7.weight"])
    assert torch.equal(network.heads[1].fc.bias, state["branch2.fc.bias"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("conv1.weight"), r"1 missing \(stages\.0\.conv\.weight\)"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 unknown \(extra\)"),
        (
            lambda s: s.update({"fc5.weight": torch.zeros(100, 128)}),
            r"1 of another shape \(heads\.5\.fc5\.weight\)",
        ),
        (lambda s: s.clear(), "no state dict"),
        (lambda s: s.update(epoch=3), "no state dict of tensors"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_named(tmp_path, change, message):
    path = tmp_path / "c.pt"
    state = published_state()
    change(state)
    torch.save(state, path)
    with pytest.raises(InputError, match=rf"c\.pt: .*{message}"):
        networks.load_checkpoint(networks.build("branchynet", 10, SHAPE), path)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return (os.system, (self.command,))


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_what_is_no_checkpoint_is_named_and_not_run(tmp_path, suffix, tally):
    whole = tmp_path / f"whole{suffix}"
    network = networks.build("branchynet", 10, SHAPE)
    if suffix == ".pt":
        torch.save(network.state_dict(), whole)
    else:
        networks.save(network, whole, IDENTITY)
    owned = tmp_path / "owned"
    contents = {
        "empty": b"",
        "page": b"<html>404</html>",
        "truncated": whole.read_bytes()[:-1000],
        "half": whole.read_bytes()[:40],
        "pickle": pickle.dumps(Hostile(f"touch {owned}")),
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}{suffix}: no checkpoint"):
            networks.load_checkpoint(network, path)
    with pytest.raises(InputError, match=f"gone{suffix}: missing"):
        networks.load_checkpoint(network, tmp_path / f"gone{suffix}")
    hostile = tmp_path / "hostile.pt"
    torch.save({"conv1.weight": Hostile(f"touch {owned}")}, hostile)
    with pytest.raises(InputError, match=r"hostile\.pt: no checkpoint"):
        networks.load_checkpoint(network, hostile)
    assert not owned.exists()
    tally["hostile files refused"] += 2


def test_a_network_of_somebody_else_is_named(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "network.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"network\.safetensors: damaged, or no network"):
        networks.load(path)


def test_the_published_checkpoint(cifar10_dir, tmp_path):
    network = networks.build("branchynet", 10, SHAPE)
    networks.load_checkpoint(network, cifar10_dir / CHECKPOINT)
    settings = {"name": "cifar10", "calibration": None, "test": None, "split_seed": 42}
    data = datasets.load(cifar10_dir, "test", settings)
    logits = all_exits(network, data.images[:1000], 32, REFERENCE)
    accuracy = (logits.argmax(axis=2) == data.labels[:1000, None].numpy()).mean(axis=0)
    assert accuracy == pytest.approx([0.6156, 0.7255, 0.7777, 0.8033, 0.8221, 0.8382], abs=0.03)


def test_metadata_is_one_key(tmp_path):
    # Several would be written in an order that differs from run to run.
    path = tmp_path / "network.safetensors"
    networks.save(networks.build("branchynet", 10, SHAPE), path, IDENTITY)
    with safe_open(path, framework="pt") as file:
        assert list(file.metadata()) == ["early_exit"]
