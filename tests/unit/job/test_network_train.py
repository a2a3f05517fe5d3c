"""The training script: the data it trains on, and the files it writes."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import network_train
from early_exit.datasets.load import load_split
from early_exit.datasets.splits import held_out
from early_exit.errors import InputError
from early_exit.io.files import sha256, write_json
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import load_network, save_network
from early_exit.training.loop import _Training

DIGITS = {"name": "digits", "calibration": None, "test": None, "split_seed": 42}
RECIPE = {"epochs": 1, "batch_size": 256, "learning_rate": 0.005, "weight_decay": 0.01}


@pytest.fixture
def job(tmp_path):
    """A stand-in for the object that Snakemake gives to the script."""
    manifest = tmp_path / "manifest.json"
    settings = {key: value for key, value in DIGITS.items() if key != "name"}
    own = {"dataset": "digits", "settings": settings, "digest": "d"}
    write_json(manifest, own | {"classes": 10, "shape": [3, 32, 32]})
    folder = tmp_path / "network"
    return SimpleNamespace(
        threads=2,
        wildcards={},
        input=SimpleNamespace(manifest=str(manifest), start=[], teacher=[]),
        output=SimpleNamespace(
            network=str(folder / "network.safetensors"), log=str(folder / "training.csv")
        ),
        params=SimpleNamespace(
            start_key=None,
            code="c",
            network={"name": "branchynet", "checkpoint": None},
            dataset=DIGITS,
            training=RECIPE,
            measure=["entropy"],
            seed=0,
            device="cpu",
            threads=2,
            data_dir=str(tmp_path),
            trusted=[],
        ),
    )


def test_it_trains_on_the_train_split_alone(job, monkeypatch):
    """Spied on: the splits that are read, and every image that a step is taken on."""
    read, seen = [], []
    load, step = load_split, _Training._step

    def spying_load(data_dir, split, settings, manifest):
        read.append(split)
        return load(data_dir, split, settings, manifest)

    def spying_step(self, images, *arguments):
        seen.append(images.clone())
        return step(self, images, *arguments)

    monkeypatch.setattr(network_train, "load_split", spying_load)
    monkeypatch.setattr(_Training, "_step", spying_step)
    network_train.main(job)
    assert read == ["train"]
    own, *others = ({p.numpy().tobytes() for p in load("", s, DIGITS).inputs} for s in SPLITS)
    trained_on = {image.numpy().tobytes() for image in torch.cat(seen)}
    assert trained_on == own
    # Without an image that is in the data set twice, no other split has any of them.
    for other in others:
        assert len(trained_on & other) <= len(own & other) == 0


@pytest.mark.parametrize("cores", [1, 2, 7])
def test_how_many_cores_the_job_gets_changes_no_weight(job, monkeypatch, cores):
    """Torch's threads are those of the setting, also beyond the processors that there are."""
    taken = []
    monkeypatch.setattr(network_train, "train", lambda *_, **__: taken.append(threads()) or 1 / 0)
    job.threads, job.params.threads = cores, 3
    before = torch.get_num_threads()
    try:
        with pytest.raises(ZeroDivisionError):
            network_train.main(job)
    finally:
        torch.set_num_threads(before)
    assert taken == [3]


threads = torch.get_num_threads
SPLITS = ("train", "calibration", "test")


def assert_parts_of(splits, samples):
    index = torch.cat([split.index for split in splits])
    assert sorted(index.tolist()) == list(range(samples))


@given(st.integers(2, 200), st.integers(1, 199), st.integers(0, 5))
def test_held_out_samples_are_not_trained_on(samples, calibration, seed):
    if calibration < samples:
        train, held = held_out(samples, calibration, seed)
        assert len(held) == calibration
        assert sorted([*train.tolist(), *held.tolist()]) == list(range(samples))


def test_the_digits_splits_are_parts():
    assert_parts_of([load_split("", split, DIGITS) for split in SPLITS], 1797)


def test_the_cifar10_splits_are_parts(cifar10_dir):
    settings = DIGITS | {"name": "cifar10"}
    assert_parts_of([load_split(cifar10_dir, split, settings) for split in SPLITS[:2]], 50_000)


def test_files_that_training_writes(job, tmp_path):
    network_train.main(job)
    network, provenance = load_network(job.output.network)
    assert provenance["training"] == RECIPE
    assert provenance["seed"] == 0
    assert len(network.heads) == 6
    assert pd.read_csv(job.output.log, comment="#").epoch.tolist() == [1]
    files = sorted(path.name for path in (tmp_path / "network").iterdir())
    assert files == ["network.safetensors", "training.csv"]


def taught(job, tmp_path, **own):
    """The job, and a network for its teacher, of which this is said."""
    path = tmp_path / "teacher.safetensors"
    provenance = {"network": "compact", "classes": 10, "shape": [3, 32, 32], "data": "d"} | own
    network = build_network("compact", provenance["classes"], provenance["shape"])
    save_network(network, path, provenance)
    job.input.teacher = str(path)
    return job


@pytest.mark.parametrize(("data", "warned"), [("d", False), ("e", True)])
def test_the_teacher_is_part_of_the_provenance(job, tmp_path, capsys, data, warned):
    network_train.main(taught(job, tmp_path, data=data))
    _, provenance = load_network(job.output.network)
    assert provenance["teacher"] == sha256(job.input.teacher)
    # A teacher that has seen the calibration split would tell of it.
    assert ("was trained on other data" in capsys.readouterr().err) == warned


def test_a_teacher_of_other_classes_is_named(job, tmp_path):
    with pytest.raises(InputError, match=r"training\.teacher: .* has classes 7, the data 10"):
        network_train.main(taught(job, tmp_path, classes=7))


OWN = """
from torch import nn


class Own(nn.Module):
    def __init__(self, classes, known):
        super().__init__()
        self.stages = nn.ModuleList([nn.Conv2d(3, 4, 3, stride=4), nn.Conv2d(4, 4, 3)])
        self.heads = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
            for stage in self.stages
        )
        for stage in self.stages[:known]:
            nn.init.dirac_(stage.weight)
            nn.init.zeros_(stage.bias)
"""


def freezing(job, tmp_path, known):
    """The job, of a class that brings the weights of so many of its two stages along."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    name = f"{tmp_path / 'own.py'}:Own"
    job.params.network = {"name": name, "checkpoint": None, "arguments": {"known": known}}
    job.params.training = RECIPE | {"freeze_backbone": True}
    return job


def test_a_class_may_load_its_backbone_and_its_heads_start_afresh(job, tmp_path):
    network_train.main(freezing(job, tmp_path, 2))
    network, _ = load_network(job.output.network, [job.params.network["name"]])
    assert network.stages[0].weight.unique().tolist() == [0, 1]
    torch.manual_seed(0)
    before = build_network(job.params.network["name"], 10, [3, 32, 32], {"known": 2})
    for head, begun in zip(network.heads, before.heads, strict=True):
        assert not torch.equal(head[2].weight, begun[2].weight)


@pytest.mark.parametrize("known", [0, 1])
def test_a_backbone_with_random_weights_is_not_frozen(job, tmp_path, known):
    with pytest.raises(InputError, match=f"stage {known + 1} has random weights.*start_from"):
        network_train.main(freezing(job, tmp_path, known))


def test_a_state_stays_until_the_network_is_safe(job, tmp_path, monkeypatch):
    """A full disk at the very end costs no epoch."""

    def fail(*arguments):
        raise OSError(28, "No space left on device", "network.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr(network_train, "save_network", fail)
        with pytest.raises(OSError, match="No space"):
            network_train.main(job)
    assert (tmp_path / "network/training_state.pt").exists()

    def step(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr(_Training, "_step", step)
    network_train.main(job)
    assert not (tmp_path / "network/training_state.pt").exists()
