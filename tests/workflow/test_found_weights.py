"""Weights that training scripts left behind, in an experiment: the advice of each error works."""

import json

import pytest
import torch
import yaml
from safetensors.torch import save_file
from test_bad_input import fails, with_checkpoint

from conftest import SMALL
from early_exit.io.files import sha256
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import load_network

pytestmark = pytest.mark.thorough

IMPORTED, TRAINED = {"import_network": 1}, {"train_network": 1}


def weights(seed):
    torch.manual_seed(seed)
    return build_network("branchynet", 10, [3, 32, 32]).state_dict()


def same(project, state):
    found = load_network(project.path("network/network.safetensors"))[0].state_dict()
    return all(torch.equal(value, state[key]) for key, value in found.items())


def planned(project):
    jobs = project.planned("network")
    return {name: jobs[name] for name in jobs.keys() & {*IMPORTED, *TRAINED}}


def test_a_file_with_several_sets_of_weights(project):
    torch.save({"model": weights(1), "model_ema": weights(2)}, project.folder / "w.pt")
    with_checkpoint(project, "w.pt")
    error = fails(project, "network")
    assert "w.pt: contains weights more than once (model, model_ema); choose, such as" in error
    own = yaml.safe_load(error.partition("choose, such as ")[2])["checkpoint"]
    with_checkpoint(project, own)
    project.run("--cores", "2", "network", check=True)
    assert same(project, weights(1))
    # Another key makes the network again.
    with_checkpoint(project, own | {"key": "model_ema"})
    assert planned(project) == IMPORTED
    project.run("--cores", "2", "network", check=True)
    assert same(project, weights(2))
    assert "taken from its model_ema" in project.path("logs/network.log").read_text()
    with_checkpoint(project, own | {"kye": "model_ema"})
    assert "unknown key 'kye'; did you mean 'key'?" in project.run("-n").stderr


def test_weights_to_start_from_in_such_a_file(project):
    torch.save({"model": weights(1), "model_ema": weights(2)}, project.folder / "w.pt")

    def starting(start):
        training = SMALL["training"] | {"start_from": start}
        project.configure(run="small", experiments={"small": SMALL | {"training": training}})

    starting("w.pt")
    error = fails(project, "network")
    own = yaml.safe_load(error.partition("choose, such as ")[2])["start_from"]
    starting(own)
    project.run("--cores", "2", "network", check=True)
    assert planned(project) == {}
    starting(own | {"key": "model_ema"})
    assert planned(project) == TRAINED


def test_weights_in_several_files(project):
    state = {key: value.contiguous() for key, value in weights(1).items()}
    names = list(state)
    parts = {"one.safetensors": names[::2], "two.safetensors": names[1::2]}
    folder = project.folder / "saved"
    folder.mkdir()
    for file, own in parts.items():
        save_file({name: state[name] for name in own}, folder / file)
    places = {name: file for file, own in parts.items() for name in own}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    with_checkpoint(project, "saved")
    error = project.run("-n").stderr
    assert "name the file in it, saved/model.safetensors.index.json" in error
    with_checkpoint(project, "saved/model.safetensors.index.json")
    project.run("--cores", "2", "network", check=True)
    assert same(project, state)
    assert "2 files of an index" in project.path("logs/network.log").read_text()
    before = sha256(project.path("network/network.safetensors"))
    # A change in any of the files makes the network again.
    assert planned(project) == {}
    key = parts["two.safetensors"][0]
    state[key] = state[key] + 1
    save_file({name: state[name] for name in parts["two.safetensors"]}, folder / "two.safetensors")
    assert planned(project) == IMPORTED
    project.run("--cores", "2", "network", check=True)
    assert sha256(project.path("network/network.safetensors")) != before
    (folder / "two.safetensors").unlink()
    shown = project.run("-n")
    assert "its file two.safetensors is missing" in shown.stderr
    assert "Traceback" not in shown.stderr
