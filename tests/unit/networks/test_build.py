import os
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open

from early_exit.datasets.load import load_split
from early_exit.errors import InputError
from early_exit.inference.cost import macs, measure_costs
from early_exit.inference.engine import REFERENCE
from early_exit.inference.exits import all_exits
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import load_checkpoint, load_network, save_network
from early_exit.networks.zoo import branchynet

SHAPE = [3, 32, 32]
CHECKPOINT = "weights/cifar10_branchyNet_m.h5"
PROVENANCE = {"network": "branchynet", "classes": 10, "shape": SHAPE}


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


def test_cumulative_macs_of_the_published_network():
    network = build_network("branchynet", 10, SHAPE)
    costs = measure_costs(network, SHAPE, [2, 3], 3, ["entropy", "margin"], REFERENCE)
    assert len(costs) == 2 * 3 * 6
    stages = costs[(costs.part == "stage") & (costs.batch_size == 3)].macs.to_numpy()
    heads = costs[(costs.part == "head") & (costs.batch_size == 3)].macs.to_numpy()
    cumulative = np.cumsum(stages + heads) / 1e6
    assert cumulative == pytest.approx([1.96, 11.63, 16.81, 26.33, 31.21, 40.96], abs=0.005)
    assert (costs.ms_per_sample > 0).all()
    assert ((costs.ms_low <= costs.ms_per_sample) & (costs.ms_per_sample <= costs.ms_high)).all()


def test_macs_by_hand():
    # 3x3x3 weights for each of 32 channels and 32x32 positions.
    stage = branchynet.Network(10).stages[0].eval()
    assert macs(stage, torch.zeros(1, *SHAPE)) == 3 * 3 * 3 * 32 * 32 * 32
    assert macs(torch.nn.Linear(7, 5), torch.zeros(2, 7)) == 2 * 7 * 5


def test_every_exit_gives_a_logit_for_each_class():
    network = build_network("branchynet", 7, SHAPE)
    images = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8)
    logits = all_exits(network, images, 2, REFERENCE)
    assert logits.shape == (5, 6, 7)
    np.testing.assert_allclose(all_exits(network, images, 5, REFERENCE), logits, atol=1e-5)


def test_images_of_another_shape_are_an_error():
    with pytest.raises(InputError, match=r"branchynet: cannot take images of shape \[1, 28, 28\]"):
        build_network("branchynet", 10, [1, 28, 28])


def test_save_and_load(tmp_path):
    path = tmp_path / "network.safetensors"
    network = build_network("branchynet", 10, SHAPE)
    save_network(network, path, PROVENANCE)
    again, provenance = load_network(path)
    assert provenance == PROVENANCE
    images = torch.rand(2, *SHAPE)
    assert torch.equal(again(images), network(images))
    first = path.read_bytes()
    save_network(network, path, PROVENANCE)
    assert path.read_bytes() == first


def test_published_names_are_renamed(tmp_path):
    path = tmp_path / "c.pt"
    state = published_state()
    assert {"conv1.weight", "bn7.running_mean", "branch5.conv.bias", "fc5.weight"} <= state.keys()
    torch.save(state, path)
    network = build_network("branchynet", 10, SHAPE)
    load_checkpoint(network, path)
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
            r"1 of another shape \(heads\.5\.fc5\.weight: \[100, 128\], not \[10, 128\]\)",
        ),
        (lambda s: s.clear(), "no state dict"),
        (lambda s: s.update(epoch=3), "no state dict of tensors"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_an_error(tmp_path, change, message):
    path = tmp_path / "c.pt"
    state = published_state()
    change(state)
    torch.save(state, path)
    with pytest.raises(InputError, match=rf"c\.pt: .*{message}"):
        load_checkpoint(build_network("branchynet", 10, SHAPE), path)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return (os.system, (self.command,))


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_other_files_are_an_error_and_not_run(tmp_path, suffix, tally):
    intact = tmp_path / f"intact{suffix}"
    network = build_network("branchynet", 10, SHAPE)
    if suffix == ".pt":
        torch.save(network.state_dict(), intact)
    else:
        save_network(network, intact, PROVENANCE)
    owned = tmp_path / "owned"
    contents = {
        "empty": b"",
        "page": b"<html>404</html>",
        "truncated": intact.read_bytes()[:-1000],
        "half": intact.read_bytes()[:40],
        "pickle": pickle.dumps(Hostile(f"touch {owned}")),
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}{suffix}: no checkpoint"):
            load_checkpoint(network, path)
    with pytest.raises(InputError, match=f"absent{suffix}: missing"):
        load_checkpoint(network, tmp_path / f"absent{suffix}")
    hostile = tmp_path / "hostile.pt"
    torch.save({"conv1.weight": Hostile(f"touch {owned}")}, hostile)
    with pytest.raises(InputError, match=r"hostile\.pt: no checkpoint"):
        load_checkpoint(network, hostile)
    assert not owned.exists()
    tally["hostile files refused"] += 2


def test_an_external_network_is_an_error(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "network.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"network\.safetensors: damaged, or no network"):
        load_network(path)


def test_the_published_checkpoint(cifar10_dir, tmp_path):
    network = build_network("branchynet", 10, SHAPE)
    load_checkpoint(network, cifar10_dir / CHECKPOINT)
    settings = {"name": "cifar10", "calibration": None, "test": None, "split_seed": 42}
    data = load_split(cifar10_dir, "test", settings)
    logits = all_exits(network, data.inputs[:1000], 32, REFERENCE)
    accuracy = (logits.argmax(axis=2) == data.labels[:1000, None].numpy()).mean(axis=0)
    assert accuracy == pytest.approx([0.6156, 0.7255, 0.7777, 0.8033, 0.8221, 0.8382], abs=0.03)


def test_metadata_is_one_key(tmp_path):
    # The order of several keys would differ from run to run.
    path = tmp_path / "network.safetensors"
    save_network(build_network("branchynet", 10, SHAPE), path, PROVENANCE)
    with safe_open(path, framework="pt") as file:
        assert list(file.metadata()) == ["early_exit"]
