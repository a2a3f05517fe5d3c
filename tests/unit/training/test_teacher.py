"""Training with a teacher instead of labels."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from early_exit.datasets.base import Split
from early_exit.errors import InputError
from early_exit.inference.engine import Engine
from early_exit.networks import MultiExitNetwork
from early_exit.training.loop import train
from early_exit.training.loss import TEMPERATURE, JointLoss
from early_exit.training.recipe import Recipe
from early_exit.training.teacher import Teacher
from helpers import random_images

MIRRORING = {"augmentation": "flip_translate", "translate": 0}


class Sided(MultiExitNetwork):
    """Two exits; the final one takes the first column only."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.BatchNorm2d(3), nn.Identity()])
        near = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
        far = nn.Sequential(nn.MaxPool2d((2, 1), (2, 2)), nn.Flatten(), nn.Linear(3, 4))
        self.heads = nn.ModuleList([near, far])


def made(seed: int) -> Sided:
    torch.manual_seed(seed)
    return Sided().eval()


def data(samples: int = 128) -> Split:
    return Split(random_images(samples, 3), torch.zeros(samples).long(), torch.arange(samples))


def final(network, images):
    return network(images.float() / 255)[:, -1]


def test_it_predicts_softened_probabilities_of_the_final_exit():
    network, images = made(0), random_images(5, 3)
    predicted = Teacher(copy.deepcopy(network), Engine(), mirrored=False)(images)
    own = (final(network, images) / TEMPERATURE).softmax(1)
    assert torch.allclose(predicted.exp(), own, atol=1e-6)
    assert not predicted.requires_grad


def test_mirrored_predictions_are_mean_probabilities():
    network, images = made(0), random_images(5, 3)
    predicted = Teacher(copy.deepcopy(network), Engine(), mirrored=True)(images)
    one, other = (
        (final(network, side) / TEMPERATURE).softmax(1) for side in (images, images.flip(3))
    )
    assert not torch.allclose(one, other, atol=1e-3)
    assert torch.allclose(predicted.exp(), (one + other) / 2, atol=1e-6)


def test_the_distillation_loss_by_hand():
    logits = torch.tensor([[[0.3, -0.2], [1.2, 0.1]]])
    goal = torch.tensor([[0.8, 0.2]])
    own = (logits[0] / TEMPERATURE).log_softmax(1)
    distances = (goal * (goal.log() - own)).sum(1) * TEMPERATURE**2
    loss = JointLoss((0.25, 0.75)).taught(logits, goal.log())
    assert loss.item() == pytest.approx(float(distances @ torch.tensor([0.25, 0.75])), rel=1e-5)


def test_every_exit_learns_the_teachers_predictions_and_not_the_labels():
    student, teacher, split = made(1), made(0), data()
    before = copy.deepcopy(teacher.state_dict())
    recipe = Recipe(80, 32, 0.05, 0.0, **MIRRORING)
    train(student, split, recipe, 0, teacher=teacher)
    goal = Teacher(teacher, Engine(), mirrored=True)(split.inputs)
    own = (student(split.inputs.float() / 255) / TEMPERATURE).log_softmax(2)
    constant = goal.exp().mean(0, keepdim=True).expand_as(goal).log()

    def distance(predicted):
        return functional.kl_div(predicted, goal, reduction="batchmean", log_target=True).item()

    # The final exit can learn all but the mirrored part, the first one what depends on means.
    assert distance(own[:, 1]) < 0.6 * distance(constant)
    assert distance(own[:, 0]) < 0.98 * distance(constant)
    # The teacher is unchanged, also its batch norm statistics.
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


@pytest.mark.parametrize("setting", ["label_smoothing", "distillation"])
def test_settings_of_labels_are_an_error(setting):
    recipe = Recipe(1, 32, 0.02, 0.0, **{setting: 0.1})
    with pytest.raises(InputError, match=rf"training\.{setting}: .*training\.teacher takes"):
        train(made(1), data(), recipe, 0, teacher=made(0))


def test_a_teacher_that_cannot_take_crops_is_an_error():
    student = made(1)
    student.heads[1] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    recipe = Recipe(2, 32, 0.02, 0.0, crop=1, crop_epochs=1)
    train(student, data(), recipe, 0)
    with pytest.raises(InputError, match=r"training\.crop: of images of 1 by 1: "):
        train(student, data(), recipe, 0, teacher=made(0))
