"""Images and networks of the user's own, as docs/networks.md has them, in small."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from test_bad_input import fails
from test_caching import AFTER_TRAINING, EVERYTHING, FRONTIER, RELIABILITY, planned
from test_networks_page import block
from torchvision.models import get_model

from conftest import ROOT, SMALL, copy_of_project
from early_exit.datasets.load import load_split
from early_exit.io.files import sha256
from early_exit.networks.checkpoint import load_network
from early_exit.records.parquet import read_records

pytestmark = pytest.mark.thorough

DIGITS = {"name": "digits", "calibration": 1, "test": 1, "split_seed": 0}
QUICK = {key: SMALL[key] for key in ("evaluation", "selection")}
QUICK |= {"cost": {"repeats": 3, "batch_sizes": [1, 32]}, "frontier": {"methods": []}}
QUICK |= {"reliability": False}
# The page is made without a frontier, too.
LEFT_OUT = {*FRONTIER, *RELIABILITY} - {"all", "make_explorer"}


def digits(samples):
    """Some of the digits, 16x16, and their labels."""
    found = load_split("", "train", DIGITS)
    return found.inputs[:samples, :, ::2, ::2], found.labels[:samples]


def draw(folder, samples=160):
    """The digits as a folder of class folders, named ``digit 0`` and so on."""
    for number, (image, label) in enumerate(zip(*digits(samples), strict=True)):
        path = folder / f"digit {int(label)}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)


def experiment(name, **smaller):
    """The page's experiment, with numbers that a test has time for."""
    own = yaml.safe_load(block("yaml", f"  {name}:"))[name]
    own = {key: {**own.get(key, {}), **smaller.get(key, {})} for key in own | smaller}
    own["training"] |= {"epochs": 1, "batch_size": 32}
    return own | QUICK


@pytest.fixture(scope="module")
def resnet_once(tmp_path_factory):
    """A finished run of the page's first experiment, and the ResNet that it began with."""
    project = copy_of_project(tmp_path_factory.mktemp("resnet"))
    draw(project.folder / "images")
    torch.manual_seed(0)
    resnet = get_model("resnet18", num_classes=10).eval()
    torch.save(resnet.state_dict(), project.folder / "resnet18.pt")
    own = experiment("mine", dataset={"size": 16, "test": 30, "calibration": 40})
    project.configure(run="small", experiments={"small": own})
    project.run("--cores", "2", check=True)
    return project, resnet


@pytest.fixture
def resnet_project(resnet_once):
    """Not to be changed, unless what is changed is put back."""
    return resnet_once[0]


def test_the_example_is_the_page():
    assert (ROOT / "examples/resnet.py").read_text() == block("python", "def resnet")


def test_the_last_exit_is_the_resnet(resnet_once):
    project, resnet = resnet_once
    records = read_records(project.path("exits/test.parquet"), logits=True)
    settings = {"name": "folder", "size": 16, "test": 30, "calibration": 40, "split_seed": 42}
    data = load_split(project.folder / "images", "test", settings)
    own = yaml.safe_load((project.folder / "config.yaml").read_text())["experiments"]["small"]
    mean, std = (torch.tensor(own["dataset"][key])[:, None, None] for key in ("mean", "std"))
    with torch.no_grad():
        expected = resnet((data.inputs / 255 - mean) / std)
    np.testing.assert_allclose(records.logits[:, -1], expected, atol=1e-3)
    assert (records.index == data.index.numpy()).all()
    log = project.path("logs/network.log").read_text()
    assert "Starting from the weights of resnet18.pt; heads that start afresh: 1, 2, 3" in log


def test_classes_have_their_names(resnet_project):
    table = pd.read_csv(resnet_project.path("evaluation/per_class.csv"), comment="#")
    assert table.class_name.tolist() == [f"digit {n}" for n in range(10)]
    assert table.samples.sum() == 30
    summary = json.loads(resnet_project.path("summary.json").read_text())
    assert (summary["exits"], summary["network"]) == (4, "examples/resnet.py:resnet")
    mean = (table.accuracy * table.samples).sum() / 30
    assert mean == pytest.approx(summary["selected"]["accuracy"])
    assert "digit " in resnet_project.path("figures/per_class.txt").read_text()
    assert re.search(r"digit \d", resnet_project.path("figures/per_class.svg").read_text())


def test_exactly_what_depends_on_the_images_and_the_file(resnet_project):
    folder, file = (resnet_project.folder / name for name in ("images", "examples/resnet.py"))
    chosen = next(folder.rglob("*.png"))
    content, text = chosen.read_bytes(), file.read_text()
    for path in folder.rglob("*.png"):
        os.utime(path, (1e9, 1e9))
    file.write_text(f"# A remark.\n{text}")
    assert planned(resnet_project) == set()
    file.write_text(text.replace('"layer1", ', ""))
    assert planned(resnet_project) == AFTER_TRAINING - LEFT_OUT
    file.write_text(text)
    Image.open(chosen).rotate(90).save(chosen)
    assert planned(resnet_project) == EVERYTHING - LEFT_OUT
    chosen.write_bytes(content)
    other = folder.rename(folder.with_name("elsewhere"))
    resnet_project.edit("config.yaml", "path: images", "path: elsewhere")
    assert planned(resnet_project) == set()
    other.rename(folder)
    resnet_project.edit("config.yaml", "path: elsewhere", "path: images")


@pytest.fixture
def slim(project):
    """The page's second experiment, its data a file of arrays."""
    (project.folder / "own").mkdir()
    (project.folder / "own/slim.py").write_text(block("python", "class Slim"))
    images, labels = digits(300)
    arrays = {"images": images.permute(0, 2, 3, 1).numpy(), "labels": labels.numpy()}
    np.savez(project.folder / "own/images.npz", **arrays)
    project.configure(run="small", experiments={"small": experiment("slim")})
    return project


def test_a_class_of_ones_own_on_arrays(slim):
    slim.run("--cores", "2", "evaluate", "sweep", check=True)
    result = json.loads(slim.path("evaluation/evaluation.json").read_text())
    # Two strided convolutions, by hand, and the last linear layer.
    macs = 27 * 8 * 64 + 72 * 16 * 16 + 64 * 10
    assert result["full_network"]["macs"] == macs
    assert result["agreement"]["different"] == 0


def test_the_teacher_of_another_experiment_is_made_first(slim):
    small, taught = experiment("slim"), experiment("slim")
    taught["training"] |= {"teacher": "results/small/network/network.safetensors"}
    run = {"run": "taught", "experiments": {"small": small, "taught": taught}}
    slim.configure(**run)
    slim.run("--cores", "2", "network", check=True)
    trusted = [f"{slim.folder}/own/slim.py:Slim"]
    path = slim.folder / "results/taught/network/network.safetensors"
    _, provenance = load_network(path, trusted)
    assert provenance["teacher"] == sha256(slim.path("network/network.safetensors"))
    assert slim.planned("network") == {}
    small["training"]["epochs"] = 2
    slim.configure(**run)
    assert slim.planned("network")["train_network"] == 2


def test_an_unsuitable_class_is_reported_before_training(slim):
    slim.edit("own/slim.py", "nn.Linear(4 * width, classes)", "nn.Linear(4 * width, 7)")
    assert "network own/slim.py:Slim: head 1: returns (2, 7) for 2 images" in fails(slim)
    assert not slim.path("network/network.safetensors").exists()
    assert not slim.path("network/training_state.pt").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("own/slim.py", "own/slin.py", "small.network.name: there is no file own/slin.py"),
        ("py:Slim", "py:Slin", "no class or function Slin; did you mean Slim?"),
        (
            "own/slim.py:Slim",
            "slim",
            "unknown value 'slim'; known: branchynet, compact, intent_encoder, residual, separable,"
            " small; or",
        ),
        (
            "own/images.npz",
            "gone.npz",
            "small.dataset.path: there is no folder or file called 'gone.npz'",
        ),
        ("name: npz", "name: npz\n      size: 3", "small.dataset.size: npz takes no size"),
        ("name: npz", "name: cifar10", "small.dataset.path: cifar10 takes no path"),
        (
            "epochs: 1",
            "epochs: 1\n      start_from: x.pt",
            "training.start_from: there is no file x",
        ),
        (
            "epochs: 1",
            "epochs: 1\n      teacher: results/other/network/network.safetensors",
            "training.teacher: there is no file results/other/network/network.safetensors",
        ),
    ],
)
def test_missing_files_are_reported_at_once(slim, old, new, message):
    slim.edit("config.yaml", old, new)
    assert message in fails(slim)
    assert not (slim.folder / "results").exists()


def test_a_new_experiment_is_written(project):
    def new(*arguments):
        command = [sys.executable, "scripts/early-exit", "new", *arguments]
        return subprocess.run(command, cwd=project.folder, text=True, capture_output=True)

    config = project.folder / "config.yaml"
    config.write_text((ROOT / "config.yaml").read_text())
    assert "Added the experiment mine to" in new("mine", "folder").stdout
    assert config.read_text().startswith((ROOT / "config.yaml").read_text())
    before = config.read_text()
    refused = new("mine", "folder")
    assert refused.returncode == 2
    assert (
        "early-exit: name mine: config.yaml has that experiment; choose another name"
        in refused.stderr
    )
    assert config.read_text() == before
    assert new("other", "cifar10").returncode == 0
    assert "train_network" in project.planned("network", "--config", "run=other")
    draw(project.folder / "images", 20)
    assert "train_network" in project.planned("network", "--config", "run=mine")
