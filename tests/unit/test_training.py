import copy

import numpy as np
import pytest
import torch
from torch import nn

from early_exit.datasets import Split
from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.training import Recipe, train
from early_exit.training.loop import _Training
from helpers import SmallNetwork, pictures


def easy(samples: int = 256) -> Split:
    """Pictures whose class is which quarter of the brightness range their first pixel is in."""
    images = pictures(samples, 3)
    return Split(images, (images[:, 0, 0, 0] // 64).long(), torch.arange(samples))


RECIPE = Recipe(epochs=60, batch_size=32, learning_rate=0.02, weight_decay=0.0)


def test_every_exit_learns():
    network = SmallNetwork()
    log = train(network, easy(), RECIPE, seed=0)
    assert log.epoch.tolist() == list(range(1, 61))
    assert log.loss.iloc[-1] < log.loss.iloc[0] / 2
    for k in (1, 2, 3):
        assert log[f"accuracy_{k}"].iloc[-1] > 0.7
    assert not network.training


def test_the_same_seed_gives_the_same_weights():
    def weights(seed):
        network = SmallNetwork()
        train(network, easy(), Recipe(2, 32, 0.02, 0.01), seed)
        return torch.cat([p.flatten() for p in network.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def moved(network, before):
    """The stages and heads of which a parameter changed."""
    after = network.state_dict()
    return sorted(
        {key[:8].rstrip(".") for key in before if not torch.equal(before[key], after[key])}
    )


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "sgd"])
@pytest.mark.parametrize(
    ("exit_weights", "trained"),
    [
        ((0.0, 1.0, 1.0), ["heads.1", "heads.2", "stages.0", "stages.1", "stages.2"]),
        ((1.0, 1.0, 0.0), ["heads.0", "heads.1", "stages.0", "stages.1"]),
    ],
)
def test_what_no_weight_reaches_is_not_trained_nor_decayed(optimizer, exit_weights, trained):
    network = SmallNetwork()
    before = copy.deepcopy(network.state_dict())
    recipe = Recipe(1, 32, 0.02, 0.5, optimizer=optimizer, exit_weights=exit_weights)
    train(network, easy(), recipe, 0)
    assert moved(network, before) == trained


def test_heads_are_as_they_were_after_the_backbone_s_epochs(monkeypatch):
    network = SmallNetwork()
    before = copy.deepcopy(network.state_dict())
    left, epoch = [], _Training.epoch

    def spying_epoch(self, bar):
        epoch(self, bar)
        left.append(moved(self.network, before))

    monkeypatch.setattr(_Training, "epoch", spying_epoch)
    train(network, easy(), Recipe(2, 32, 0.02, 0.5, optimizer="sgd", backbone_epochs=1), 0)
    assert left[0] == ["heads.2", "stages.0", "stages.1", "stages.2"]
    assert len(left[1]) == 6


def test_exits_do_not_learn_from_a_final_one_without_weight():
    with pytest.raises(InputError, match=r"training\.distillation: .* is 0"):
        Recipe(1, 32, 0.02, 0.0, exit_weights=(1.0, 0.0), distillation=0.5)
    # Unless it brings its weights along.
    Recipe(1, 32, 0.02, 0.0, exit_weights=(1.0, 0.0), distillation=0.5, freeze_backbone=True)


@pytest.mark.parametrize("setting", ["translate", "cutout"])
def test_pixels_that_leave_nothing_of_a_picture_are_named(setting):
    recipe = Recipe(1, 32, 0.02, 0.0, augmentation="flip_translate", **{"translate": 1, setting: 2})
    with pytest.raises(InputError, match=rf"training\.{setting}: 2 pixels, of pictures of 2 by 2"):
        train(SmallNetwork(), easy(), recipe, 0)


def test_weights_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="2 weights for 3 exits"):
        train(SmallNetwork(), easy(), Recipe(1, 32, 0.02, 0.0, exit_weights=(1.0, 1.0)), 0)


def test_a_diverging_loss_is_named():
    with pytest.raises(InputError, match=r"lower training\.learning_rate"):
        network = SmallNetwork()
        with torch.no_grad():
            network.heads[0].weight.fill_(np.nan)
        train(network, easy(), RECIPE, 0)


def test_a_batch_larger_than_the_split_is_one_step():
    log = train(SmallNetwork(), easy(20), Recipe(2, 512, 0.02, 0.0), 0)
    assert len(log) == 2


class NormalisedFirst(MultiExitNetwork):
    """One stage, batch norm of the pictures themselves, and one exit."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.BatchNorm2d(3)])
        self.heads = nn.ModuleList([nn.Sequential(nn.Flatten(), nn.Linear(192, 4))])


def test_the_average_is_settled_on_pictures_as_they_were_trained_on():
    white = torch.full((900, 3, 8, 8), 255, dtype=torch.uint8)
    labels = torch.arange(900) % 4
    recipe = Recipe(1, 30, 0.02, 0.0, augmentation="flip_translate", translate=1, averaging=0.9)
    network = NormalisedFirst()
    train(network, Split(white, labels, labels), recipe, 0)
    # A row and a column of eight are black in two of three places that a picture is moved to.
    white_left = (2 / 3 * 7 / 8 + 1 / 3) ** 2
    assert network.stages[0].running_mean.tolist() == pytest.approx([white_left] * 3, abs=0.01)


def test_alternating_flips_show_both_sides_of_each_picture_in_two_epochs(monkeypatch):
    seen, step = [], _Training._step

    def spying_step(self, images, *arguments):
        seen.append(images.clone())
        return step(self, images, *arguments)

    monkeypatch.setattr(_Training, "_step", spying_step)
    data = easy(64)
    recipe = Recipe(2, 64, 0.02, 0.0, augmentation="alternating_flip_translate", translate=0)
    train(SmallNetwork(), data, recipe, 0)
    shown = [{picture.numpy().tobytes() for picture in epoch} for epoch in seen]
    for picture in data.images:
        sides = {picture.numpy().tobytes(), picture.flip(2).contiguous().numpy().tobytes()}
        assert [len(sides & epoch) for epoch in shown] == [1, 1]
        assert len(sides & (shown[0] | shown[1])) == 2
