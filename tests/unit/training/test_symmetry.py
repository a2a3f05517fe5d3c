"""Tied weights: every exit's logits are equal for an image and its mirror image."""

import pytest
import torch
from torch import nn

import network_train
from early_exit.datasets.base import Split
from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.networks.build import build_network
from early_exit.training.loop import _Training, train
from early_exit.training.recipe import Recipe
from early_exit.training.symmetry import MirrorSymmetry, check_symmetric
from helpers import SmallNetwork

SHAPE = [3, 8, 8]
RECIPE = {"learning_rate": 0.05, "weight_decay": 5e-4, "augmentation": "alternating_flip_translate"}


class Symmetric(MultiExitNetwork):
    """Two exits with all kinds of tied weights: convolutions (also depthwise), norms, biases."""

    def __init__(self, width: int = 8, stride: int = 1, head: nn.Module | None = None) -> None:
        super().__init__()
        deep = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.stages = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, width, 3, stride=stride, padding=1), nn.ReLU()),
                nn.Sequential(nn.MaxPool2d(2), deep, nn.BatchNorm2d(width), nn.Hardswish()),
            ]
        )
        flat = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.heads = nn.ModuleList(
            [
                head or nn.Sequential(*flat, nn.Linear(width, 5)),
                nn.Sequential(*flat, nn.Linear(width, 6), nn.ReLU(), nn.Linear(6, 5)),
            ]
        )


def apart(network, images):
    """Largest difference of an exit's logits between images and their mirror images."""
    with torch.no_grad():
        return float((network(images) - network(images.flip(3))).abs().max())


def drawn(samples: int = 64) -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, *SHAPE), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(samples) % 5, torch.arange(samples))


@pytest.fixture
def images():
    return torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_a_partner_is_flipped_between_partners():
    torch.manual_seed(0)
    network = Symmetric(width=4)
    MirrorSymmetry(network)
    first, deep = network.stages[0][0].weight.detach(), network.stages[1][1].weight.detach()
    # Channels of images have no partners.
    assert torch.equal(first[2:], first[:2].flip(3))
    assert torch.equal(deep[2:], deep[:2].flip(3))
    hidden, last = network.heads[1][2].weight.detach(), network.heads[1][4].weight.detach()
    assert torch.equal(hidden[3:, 2:], hidden[:3, :2])
    assert torch.equal(hidden[3:, :2], hidden[:3, 2:])
    assert torch.equal(last[:, 3:], last[:, :3])
    # Classes have no partners.
    assert not torch.allclose(last[:2], last[2:4])


def test_weights_keep_their_norms_and_batch_norm_its_values():
    torch.manual_seed(0)
    network = Symmetric(width=256)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    MirrorSymmetry(network)
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            assert float(weight.detach().norm() / before[name].norm()) == pytest.approx(1, abs=0.1)
    assert torch.equal(network.stages[1][2].weight, torch.ones(256))


@pytest.mark.parametrize("optimizer", ["sgd", "muon", "adamw"])
@pytest.mark.parametrize("averaging", [None, 0.9])
def test_networks_stay_symmetric_in_training(optimizer, averaging, images):
    torch.manual_seed(0)
    network = Symmetric()
    begun = {name: weight.clone() for name, weight in network.named_parameters()}
    recipe = Recipe(
        3, 16, optimizer=optimizer, averaging=averaging, mirror_symmetric=True, **RECIPE
    )
    train(network, drawn(), recipe, 0)
    assert apart(network, images) < 1e-5
    for name, weight in network.named_parameters():
        assert not torch.equal(weight, begun[name])


@pytest.mark.parametrize("optimizer", ["sgd", "muon", "adamw"])
def test_every_step_keeps_partners_tied(optimizer, monkeypatch):
    """Not only the end of training, which ties them again."""
    torch.manual_seed(0)
    network, seen = Symmetric(), []
    finish = _Training.finish

    def watched(self):
        seen.append(self.network.stages[0][0].weight.detach().clone())
        finish(self)

    monkeypatch.setattr(_Training, "finish", watched)
    recipe = Recipe(3, 16, optimizer=optimizer, mirror_symmetric=True, **RECIPE)
    train(network, drawn(), recipe, 0)
    torch.testing.assert_close(seen[0][4:], seen[0][:4].flip(3), rtol=0, atol=1e-5)


def test_untied_networks_are_not_symmetric(images):
    torch.manual_seed(0)
    network = Symmetric()
    train(network, drawn(), Recipe(3, 16, **RECIPE), 0)
    assert apart(network, images) > 1e-3


def test_gradients_of_tied_weights_are_those_of_the_free_half():
    """By finite differences of a weight and its partner."""
    torch.manual_seed(0)
    network = Symmetric().double().eval()
    symmetry = MirrorSymmetry(network)
    images = torch.rand(4, *SHAPE, dtype=torch.double)
    weight = network.stages[0][0].weight
    loss = network(images).square().sum()
    loss.backward()
    symmetry.tie_gradients()
    assert torch.equal(weight.grad[4:], weight.grad[:4].flip(3))
    step = 1e-6
    with torch.no_grad():
        weight[1, 2, 0, 0] += step
        weight[5, 2, 0, 2] += step
        moved = network(images).square().sum()
    share = float(moved - loss.detach()) / step / 2
    assert float(weight.grad[1, 2, 0, 0]) == pytest.approx(share, rel=1e-4)


def test_frozen_weights_have_no_gradient():
    network = Symmetric()
    symmetry = MirrorSymmetry(network)
    network.heads[0](network.stages[0](torch.rand(2, *SHAPE))).sum().backward()
    symmetry.tie_gradients()
    assert network.stages[1][1].weight.grad is None
    assert network.stages[0][0].weight.grad is not None


def test_batch_norm_averages_partners():
    network = Symmetric(width=4)
    symmetry, norm = MirrorSymmetry(network), network.stages[1][2]
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    norm.running_var.copy_(torch.tensor([1.0, 1.0, 2.0, 5.0]))
    symmetry.tie()
    assert norm.running_mean.tolist() == [2.0, 4.0, 2.0, 4.0]
    assert norm.running_var.tolist() == [1.5, 3.0, 1.5, 3.0]


@pytest.mark.parametrize("name", ["residual", "compact"])
def test_suitable_networks_of_the_zoo(name):
    torch.manual_seed(0)
    network = build_network(name, 10, [3, 32, 32])
    check_symmetric(network, [3, 32, 32])
    MirrorSymmetry(network)
    assert apart(network, torch.rand(2, 3, 32, 32)) < 1e-5


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (Symmetric(stride=2), "exit 1 .* images of 8 by 8"),
        (Symmetric(width=7), "a layer of 7 channels, which make no pairs"),
        # Not symmetric.
        (Symmetric(head=nn.Sequential(nn.Flatten(), nn.Linear(512, 5))), "exit 1 "),
        (Symmetric(head=nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(8, 5))), None),
        (SmallNetwork(), "exit 1 "),
    ],
)
def test_unsuitable_networks_are_an_error(network, why):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    shape = [3, 2, 2] if isinstance(network, SmallNetwork) else SHAPE
    if why is None:
        check_symmetric(network, shape)
    else:
        with pytest.raises(InputError, match=rf"training\.mirror_symmetric: .*{why}.*to false"):
            check_symmetric(network, shape)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_crops_must_be_symmetric_too():
    recipe = Recipe(3, 16, crop=7, crop_epochs=1, mirror_symmetric=True, **RECIPE)
    with pytest.raises(InputError, match=r"mirror_symmetric: exit 2 .* 7 by 7"):
        train(Symmetric(), drawn(), recipe, 0)


def test_augmentation_without_flips_is_an_error():
    with pytest.raises(InputError, match=r"mirror_symmetric: training\.augmentation none has no"):
        Recipe(3, 16, 0.1, 0.0, mirror_symmetric=True)


def test_loaded_weights_are_not_replaced():
    with pytest.raises(InputError, match=r"training\.mirror_symmetric: it would replace weights"):
        network_train.load_start_weights(
            SmallNetwork(), "weights.pt", None, {"training": {"mirror_symmetric": True}}
        )
    with pytest.raises(InputError, match=r"freeze_backbone: mirror_symmetric changes it"):
        Recipe(3, 16, freeze_backbone=True, mirror_symmetric=True, **RECIPE)
