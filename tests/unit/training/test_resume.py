"""Resumed training has the weights of uninterrupted training."""

import dataclasses
import logging

import pytest
import torch
from torch import nn

from early_exit.datasets.base import Split
from early_exit.inference.engine import Engine
from early_exit.networks import MultiExitNetwork
from early_exit.training.loop import _Training, train
from early_exit.training.recipe import Recipe
from early_exit.training.state import SavedState

# Settings with a state or randomness.
FULL = Recipe(
    epochs=4,
    batch_size=16,
    learning_rate=0.05,
    weight_decay=5e-4,
    optimizer="sgd",
    exit_weights=(1.0, 2.0),
    label_smoothing=0.1,
    distillation=0.5,
    augmentation="flip_translate",
    translate=1,
    cutout=2,
    cutmix=0.5,
    crop=6,
    crop_epochs=2,
    averaging=0.9,
    backbone_epochs=1,
)
RECIPES = {
    "sgd": FULL,
    "adamw": dataclasses.replace(FULL, optimizer="adamw", averaging=None),
    "muon": dataclasses.replace(
        FULL, optimizer="muon", augmentation="alternating_flip_translate", whitening=True
    ),
    "held out": dataclasses.replace(FULL, held_out=0.25),
    "tied": dataclasses.replace(FULL, optimizer="muon", mirror_symmetric=True),
}
PROVENANCE = {"seed": 7}


class ConvolutionalNetwork(MultiExitNetwork):
    """Two small convolutional stages with batch norm and dropout; images of 3 channels."""

    def __init__(self) -> None:
        super().__init__()

        def stage(channels):
            layers = [nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()]
            return nn.Sequential(*layers, nn.Dropout(0.3))

        self.stages = nn.ModuleList([stage(3), stage(6)])
        self.heads = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)) for _ in range(2)
        )


def data() -> Split:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (70, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return Split(images, images[:, 0, 0, 0].long() % 3, torch.arange(70))


def new_network() -> ConvolutionalNetwork:
    torch.manual_seed(7)
    return ConvolutionalNetwork()


class Killed(BaseException):
    """Raised to interrupt training."""


def killed_after(epochs, monkeypatch, recipe, saved):
    """Train, and interrupt it within the epoch after ``epochs`` finished ones."""
    original = _Training._step

    def step(self, *arguments):
        if len(self.log) == epochs:
            raise Killed
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(_Training, "_step", step)
        with pytest.raises(Killed):
            train(new_network(), data(), recipe, 7, saved=saved)


def assert_same_weights(one, other):
    assert one.state_dict().keys() == other.state_dict().keys()
    for key, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("stops", [[0], [1], [2], [3], [1, 3]])
def test_resumed_training_equals_uninterrupted_training(tmp_path, monkeypatch, name, stops):
    recipe = RECIPES[name]
    unbroken = new_network()
    log = train(unbroken, data(), recipe, 7)
    saved = SavedState(tmp_path / "training_state.pt", PROVENANCE)
    for epochs in stops:
        killed_after(epochs, monkeypatch, recipe, saved)
    # The global random state does not matter.
    torch.rand(3)
    resumed = new_network()
    own = train(resumed, data(), recipe, 7, saved=saved)
    assert_same_weights(unbroken, resumed)
    assert own.drop(columns="seconds").equals(log.drop(columns="seconds"))
    assert [path.name for path in tmp_path.iterdir()] == ["training_state.pt"]
    saved.remove()
    assert not list(tmp_path.iterdir())


def test_every_epoch_and_seed_has_its_own_random_numbers():
    def drawn(seed, number):
        training = _Training(new_network(), data(), FULL, seed, Engine())
        generator = training._seeded(number)
        return torch.rand(2, generator=generator).tolist() + torch.rand(2).tolist()

    pairs = [(seed, number) for seed in (0, 1) for number in (1, 2, 3)]
    numbers = {pair: drawn(*pair) for pair in pairs}
    assert len({value for values in numbers.values() for value in values}) == 4 * len(pairs)
    assert drawn(1, 2) == numbers[1, 2]


def test_only_unfinished_epochs_are_trained(tmp_path, monkeypatch):
    saved = SavedState(tmp_path / "training_state.pt", PROVENANCE)
    killed_after(3, monkeypatch, FULL, saved)
    begun = []
    original = _Training.epoch
    monkeypatch.setattr(
        _Training, "epoch", lambda self, bar: (begun.append(len(self.log) + 1), original(self, bar))
    )
    train(new_network(), data(), FULL, 7, saved=saved)
    assert begun == [4]


def test_a_state_of_another_provenance_is_ignored(tmp_path, monkeypatch, caplog):
    path = tmp_path / "training_state.pt"
    killed_after(2, monkeypatch, FULL, SavedState(path, {"seed": 8}))
    with caplog.at_level(logging.INFO):
        log = train(new_network(), data(), FULL, 7, saved=SavedState(path, PROVENANCE))
    assert "another recipe, data set, seed or code: training starts over" in caplog.text
    assert "Resuming" not in caplog.text
    assert len(log) == 4


@pytest.mark.parametrize("damage", ["cut", "emptied", "text", "other", "hostile"])
def test_a_damaged_state_is_ignored(tmp_path, monkeypatch, caplog, damage):
    path = tmp_path / "training_state.pt"
    saved = SavedState(path, PROVENANCE)
    killed_after(2, monkeypatch, FULL, saved)
    original = path.read_bytes()
    if damage in ("other", "hostile"):
        torch.save([1, 2] if damage == "other" else {"identity": Recipe}, path)
    else:
        damaged = {"cut": original[: len(original) // 2], "emptied": b"", "text": b"no state"}
        path.write_bytes(damaged[damage])
    unbroken, resumed = new_network(), new_network()
    train(unbroken, data(), FULL, 7)
    train(resumed, data(), FULL, 7, saved=saved)
    assert "is damaged" in caplog.text
    assert "training starts over" in caplog.text
    assert_same_weights(unbroken, resumed)
