import copy

import numpy as np
import pytest
import torch
from torch import nn

from early_exit.datasets.base import Split
from early_exit.errors import InputError
from early_exit.inference.engine import Engine
from early_exit.networks import MultiExitNetwork
from early_exit.training.loop import _Training, train
from early_exit.training.loss import JointLoss
from early_exit.training.recipe import Recipe
from helpers import SmallNetwork, random_images


def easy(samples: int = 256) -> Split:
    """Images of four classes, by the brightness of their first pixel."""
    images = random_images(samples, 3)
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


def test_equal_seeds_train_equal_weights():
    def weights(seed):
        network = SmallNetwork()
        train(network, easy(), Recipe(2, 32, 0.02, 0.01), seed)
        return torch.cat([p.flatten() for p in network.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def moved(network, before):
    """Stages and heads with a changed parameter."""
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
def test_parameters_without_exit_weight_are_neither_trained_nor_decayed(
    optimizer, exit_weights, trained
):
    network = SmallNetwork()
    before = copy.deepcopy(network.state_dict())
    recipe = Recipe(1, 32, 0.02, 0.5, optimizer=optimizer, exit_weights=exit_weights)
    train(network, easy(), recipe, 0)
    assert moved(network, before) == trained


def test_backbone_epochs_do_not_change_heads(monkeypatch):
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


def test_distillation_from_an_untrained_final_exit_is_an_error():
    with pytest.raises(InputError, match=r"training\.distillation: .* is 0"):
        Recipe(1, 32, 0.02, 0.0, exit_weights=(1.0, 0.0), distillation=0.5)
    # Unless its weights are loaded.
    Recipe(1, 32, 0.02, 0.0, exit_weights=(1.0, 0.0), distillation=0.5, freeze_backbone=True)


@pytest.mark.parametrize("setting", ["translate", "cutout", "crop"])
def test_augmentation_that_removes_an_image_is_an_error(setting):
    pixels = {"translate": 1, "crop": 1, setting: 2}
    recipe = Recipe(2, 32, 0.02, 0.0, augmentation="flip_translate", crop_epochs=1, **pixels)
    with pytest.raises(InputError, match=rf"training\.{setting}: 2 pixels, of images of 2 by 2"):
        train(SmallNetwork(), easy(), recipe, 0)


def test_exit_weights_that_do_not_fit_are_an_error():
    with pytest.raises(InputError, match="2 weights for 3 exits"):
        train(SmallNetwork(), easy(), Recipe(1, 32, 0.02, 0.0, exit_weights=(1.0, 1.0)), 0)


def test_a_diverging_loss_is_an_error():
    with pytest.raises(InputError, match=r"lower training\.learning_rate"):
        network = SmallNetwork()
        with torch.no_grad():
            network.heads[0].weight.fill_(np.nan)
        train(network, easy(), RECIPE, 0)


def test_a_batch_larger_than_the_split_is_one_step():
    log = train(SmallNetwork(), easy(20), Recipe(2, 512, 0.02, 0.0), 0)
    assert len(log) == 2


class NormalisedFirst(MultiExitNetwork):
    """One stage, batch norm of the images, and one exit."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.BatchNorm2d(3)])
        self.heads = nn.ModuleList([nn.Sequential(nn.Flatten(), nn.Linear(192, 4))])


def test_batch_norm_of_the_average_is_computed_on_augmented_images():
    white = torch.full((900, 3, 8, 8), 255, dtype=torch.uint8)
    labels = torch.arange(900) % 4
    recipe = Recipe(1, 30, 0.02, 0.0, augmentation="flip_translate", translate=1, averaging=0.9)
    network = NormalisedFirst()
    train(network, Split(white, labels, labels), recipe, 0)
    # A row and a column of eight are black for two of three shifts.
    white_left = (2 / 3 * 7 / 8 + 1 / 3) ** 2
    assert network.stages[0].running_mean.tolist() == pytest.approx([white_left] * 3, abs=0.01)


class AtLeast(nn.Module):
    """Refuses images that are smaller than a side."""

    def __init__(self, smallest: int) -> None:
        super().__init__()
        self.smallest = smallest

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[2] < self.smallest:
            raise RuntimeError(f"at least {self.smallest} pixels")
        return images


class Pooled(MultiExitNetwork):
    """One stage and one exit, for images of at least some size."""

    def __init__(self, smallest: int = 1) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Sequential(AtLeast(smallest), nn.BatchNorm2d(3))])
        pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)]
        self.heads = nn.ModuleList([nn.Sequential(*pooled)])


def wide(samples: int) -> Split:
    """Images of 6 by 8."""
    labels = torch.arange(samples) % 4
    return Split(torch.full((samples, 3, 6, 8), 9, dtype=torch.uint8), labels, labels)


def test_crops_are_used_in_the_first_epochs():
    network, seen = Pooled(), []
    recipe = Recipe(3, 20, 0.02, 0.0, averaging=0.9, crop=4, crop_epochs=2)
    network.stages[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    train(network, wide(40), recipe, 0)
    # The checks before have fewer images. Two steps an epoch, and batch norm's statistics are
    # recomputed on full images.
    steps = [tuple(shape[2:]) for shape in seen if shape[0] == 20]
    assert steps == [(4, 4)] * 4 + [(6, 8)] * 4


def test_a_network_that_cannot_take_crops_is_an_error():
    recipe = Recipe(2, 20, 0.02, 0.0, crop=4, crop_epochs=1)
    with pytest.raises(
        InputError, match=r"training\.crop: of images of 4 by 4: .*at least 5 pixels"
    ):
        train(Pooled(smallest=5), wide(40), recipe, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 4}, r"training\.crop: set without training\.crop_epochs"),
        ({"crop_epochs": 1}, r"training\.crop_epochs: set without training\.crop;"),
        (
            {"crop": 4, "crop_epochs": 2},
            r"training\.crop_epochs: 2 of 2 epochs; leave at least one",
        ),
    ],
)
def test_crops_in_no_or_all_epochs_are_an_error(settings, message):
    with pytest.raises(InputError, match=message):
        Recipe(2, 32, 0.02, 0.0, **settings)


def test_cutmix_mixes_images_and_labels(monkeypatch):
    seen, call = [], JointLoss.__call__

    def spying_call(self, logits, labels):
        seen.append(labels)
        return call(self, logits, labels)

    monkeypatch.setattr(JointLoss, "__call__", spying_call)
    log = train(SmallNetwork(), easy(), Recipe(60, 32, 0.02, 0.0, cutmix=0.5), 0)
    labels = torch.cat(seen)
    assert torch.allclose(labels.sum(1), torch.ones(len(labels)))
    assert labels.max(1).values.unique().tolist() == [0.75, 1.0]
    # The label of the image of which a quarter is covered counts as correct.
    assert log.accuracy_3.iloc[-1] > 0.6


def test_the_remaining_time_depends_on_the_pixels():
    recipe = Recipe(4, 20, 0.02, 0.0, crop=4, crop_epochs=2)
    training = _Training(Pooled(), wide(40), recipe, 0, Engine("cpu"))
    training.log = [{"seconds": 10.0}]
    # 16 pixels took 10 seconds; 16 + 48 + 48 remain.
    assert training._seconds_left(1) == pytest.approx(70)


def test_alternating_flips_show_both_sides_of_each_image_in_two_epochs(monkeypatch):
    seen, step = [], _Training._step

    def spying_step(self, images, *arguments):
        seen.append(images.clone())
        return step(self, images, *arguments)

    monkeypatch.setattr(_Training, "_step", spying_step)
    data = easy(64)
    recipe = Recipe(2, 64, 0.02, 0.0, augmentation="alternating_flip_translate", translate=0)
    train(SmallNetwork(), data, recipe, 0)
    shown = [{image.numpy().tobytes() for image in epoch} for epoch in seen]
    for image in data.inputs:
        sides = {image.numpy().tobytes(), image.flip(2).contiguous().numpy().tobytes()}
        assert [len(sides & epoch) for epoch in shown] == [1, 1]
        assert len(sides & (shown[0] | shown[1])) == 2
