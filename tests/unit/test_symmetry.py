"""Tied weights: what every exit says of a picture, it says of the mirror image."""

import pytest
import torch
from torch import nn

import network_train
from early_exit import networks
from early_exit.datasets import Split
from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.training import Recipe, train
from early_exit.training.loop import _Training
from early_exit.training.symmetry import MirrorSymmetry, check_symmetric
from helpers import SmallNetwork

SHAPE = [3, 8, 8]
RECIPE = {"learning_rate": 0.05, "weight_decay": 5e-4, "augmentation": "alternating_flip_translate"}


class Symmetric(MultiExitNetwork):
    """Two exits, with all that may be tied: convolutions, whole and by channel, norms, biases."""

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


def apart(network, pictures):
    """How far an exit's logits of pictures and of their mirror images are apart, at most."""
    with torch.no_grad():
        return float((network(pictures) - network(pictures.flip(3))).abs().max())


def drawn(samples: int = 64) -> Split:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, *SHAPE), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(samples) % 5, torch.arange(samples))


@pytest.fixture
def pictures():
    return torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_a_partner_is_turned_round_between_partners():
    torch.manual_seed(0)
    network = Symmetric(width=4)
    MirrorSymmetry(network)
    first, deep = network.stages[0][0].weight.detach(), network.stages[1][1].weight.detach()
    # It sees pictures, whose channels have no partners.
    assert torch.equal(first[2:], first[:2].flip(3))
    assert torch.equal(deep[2:], deep[:2].flip(3))
    hidden, last = network.heads[1][2].weight.detach(), network.heads[1][4].weight.detach()
    assert torch.equal(hidden[3:, 2:], hidden[:3, :2])
    assert torch.equal(hidden[3:, :2], hidden[:3, 2:])
    assert torch.equal(last[:, 3:], last[:, :3])
    # Every class is its own.
    assert not torch.allclose(last[:2], last[2:4])


def test_weights_stay_as_long_and_norms_as_they_begin():
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
def test_it_lasts_through_training(optimizer, averaging, pictures):
    torch.manual_seed(0)
    network = Symmetric()
    begun = {name: weight.clone() for name, weight in network.named_parameters()}
    recipe = Recipe(
        3, 16, optimizer=optimizer, averaging=averaging, mirror_symmetric=True, **RECIPE
    )
    train(network, drawn(), recipe, 0)
    assert apart(network, pictures) < 1e-5
    for name, weight in network.named_parameters():
        assert not torch.equal(weight, begun[name])


@pytest.mark.parametrize("optimizer", ["sgd", "muon", "adamw"])
def test_every_step_leaves_partners_partners(optimizer, monkeypatch):
    """And not the end of training alone, which would make them so by force."""
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


def test_without_it_both_sides_differ(pictures):
    torch.manual_seed(0)
    network = Symmetric()
    train(network, drawn(), Recipe(3, 16, **RECIPE), 0)
    assert apart(network, pictures) > 1e-3


def test_gradients_of_tied_weights_are_those_of_the_free_half():
    """By differences: moving a weight and its partner changes the loss by both of their shares."""
    torch.manual_seed(0)
    network = Symmetric().double().eval()
    symmetry = MirrorSymmetry(network)
    pictures = torch.rand(4, *SHAPE, dtype=torch.double)
    weight = network.stages[0][0].weight
    loss = network(pictures).square().sum()
    loss.backward()
    symmetry.tie_gradients()
    assert torch.equal(weight.grad[4:], weight.grad[:4].flip(3))
    step = 1e-6
    with torch.no_grad():
        weight[1, 2, 0, 0] += step
        weight[5, 2, 0, 2] += step
        moved = network(pictures).square().sum()
    share = float(moved - loss.detach()) / step / 2
    assert float(weight.grad[1, 2, 0, 0]) == pytest.approx(share, rel=1e-4)


def test_what_is_not_trained_has_no_gradient():
    network = Symmetric()
    symmetry = MirrorSymmetry(network)
    network.heads[0](network.stages[0](torch.rand(2, *SHAPE))).sum().backward()
    symmetry.tie_gradients()
    assert network.stages[1][1].weight.grad is None
    assert network.stages[0][0].weight.grad is not None


def test_batch_norm_keeps_what_it_saw_of_both():
    network = Symmetric(width=4)
    symmetry, norm = MirrorSymmetry(network), network.stages[1][2]
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    norm.running_var.copy_(torch.tensor([1.0, 1.0, 2.0, 5.0]))
    symmetry.tie()
    assert norm.running_mean.tolist() == [2.0, 4.0, 2.0, 4.0]
    assert norm.running_var.tolist() == [1.5, 3.0, 1.5, 3.0]


@pytest.mark.parametrize("name", ["residual", "compact"])
def test_the_networks_of_this_project_that_can_be(name):
    torch.manual_seed(0)
    network = networks.build(name, 10, [3, 32, 32])
    check_symmetric(network, [3, 32, 32])
    MirrorSymmetry(network)
    assert apart(network, torch.rand(2, 3, 32, 32)) < 1e-5


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (Symmetric(stride=2), "exit 1 .* mirror images of 8 by 8"),
        (Symmetric(width=7), "a layer of 7 features, which are no pairs"),
        # It knows left from right.
        (Symmetric(head=nn.Sequential(nn.Flatten(), nn.Linear(512, 5))), "exit 1 "),
        (Symmetric(head=nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(8, 5))), None),
        (SmallNetwork(), "exit 1 "),
    ],
)
def test_networks_that_cannot_be_are_refused(network, why):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    shape = [3, 2, 2] if isinstance(network, SmallNetwork) else SHAPE
    if why is None:
        check_symmetric(network, shape)
    else:
        with pytest.raises(InputError, match=rf"training\.mirror_symmetric: .*{why}.*to false"):
            check_symmetric(network, shape)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_windows_must_lie_alike_too():
    recipe = Recipe(3, 16, crop=7, crop_epochs=1, mirror_symmetric=True, **RECIPE)
    with pytest.raises(InputError, match=r"mirror_symmetric: exit 2 .* 7 by 7"):
        train(Symmetric(), drawn(), recipe, 0)


def test_it_must_see_mirror_images():
    with pytest.raises(InputError, match=r"mirror_symmetric: training\.augmentation none shows no"):
        Recipe(3, 16, 0.1, 0.0, mirror_symmetric=True)


def test_weights_from_elsewhere_are_not_lost():
    with pytest.raises(InputError, match=r"training\.mirror_symmetric: it would replace weights"):
        network_train.begin(SmallNetwork(), "weights.pt", {"training": {"mirror_symmetric": True}})
    with pytest.raises(InputError, match=r"freeze_backbone: mirror_symmetric changes it"):
        Recipe(3, 16, freeze_backbone=True, mirror_symmetric=True, **RECIPE)
