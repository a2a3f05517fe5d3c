"""Whitened first convolution: outputs of its filters for their patches."""

import pytest
import torch
from torch import nn

import network_train
from early_exit.datasets.base import Split
from early_exit.errors import InputError
from early_exit.inference.engine import Engine
from early_exit.networks import MultiExitNetwork
from early_exit.networks.build import build_network
from early_exit.training.loop import train
from early_exit.training.recipe import Recipe
from early_exit.training.whitening import _patches, whiten
from helpers import SmallNetwork

ENGINE = Engine(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


def smooth(samples: int = 40, side: int = 12) -> torch.Tensor:
    """Images with correlated neighbouring pixels."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand((samples, 3, side + 2, side + 2), generator=generator)
    return (nn.functional.avg_pool2d(noise, 3, stride=1) * 255).to(torch.uint8)


def network_of(first: nn.Module) -> MultiExitNetwork:
    network = MultiExitNetwork()
    network.stages = nn.ModuleList([nn.Sequential(first, nn.AdaptiveAvgPool2d(1), nn.Flatten())])
    network.heads = nn.ModuleList([nn.Linear(getattr(first, "out_channels", 3), 4)])
    return network


def answers(convolution: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    """Output of each filter for each patch, shape (patches, filters)."""
    with torch.no_grad():
        outputs = nn.functional.conv2d(ENGINE.prepare(images).contiguous(), convolution.weight)
    return outputs.permute(0, 2, 3, 1).flatten(0, 2)


@pytest.mark.parametrize("filters", [8, 54])
def test_filters_whiten_the_patches(filters):
    images, convolution = smooth(), nn.Conv2d(3, filters, 3, padding=1, bias=False)
    before = torch.cov(answers(convolution, images).T)
    whiten(network_of(convolution), images, ENGINE)
    half = filters // 2
    after = torch.cov(answers(convolution, images)[:, :half].T)
    # Outputs are uncorrelated, with variance 1 up to the regulariser.
    assert (after - torch.diag(after.diagonal())).abs().max() < 1e-3
    assert after.diagonal().max() <= 1.0 + 1e-4
    assert after[0, 0] > 0.99
    assert not torch.allclose(before.diagonal(), torch.ones(filters), atol=0.1)


def test_each_direction_has_both_signs_and_the_strongest_come_first():
    images, convolution = smooth(), nn.Conv2d(3, 8, 3, bias=False)
    whiten(network_of(convolution), images, ENGINE)
    weight = convolution.weight.detach()
    assert torch.equal(weight[:4], -weight[4:])
    # The norm is one over the root of the variance: the strongest direction is the shortest.
    lengths = weight[:4].flatten(1).norm(dim=1)
    assert torch.equal(lengths, lengths.sort().values)
    patches = nn.functional.unfold(ENGINE.prepare(images).contiguous(), 3)
    variances = torch.linalg.eigvalsh(torch.cov(patches.permute(1, 0, 2).flatten(1)))
    expected = (variances.flip(0)[:4] + 5e-4).rsqrt()
    torch.testing.assert_close(lengths, expected, rtol=1e-3, atol=1e-3)


def test_mirrored_filters_whiten_the_patches_and_are_asymmetric():
    images, convolution = smooth(), nn.Conv2d(3, 32, 3, padding=1, bias=False)
    whiten(network_of(convolution), images, ENGINE, mirror_symmetric=True)
    weight = convolution.weight.detach()
    assert torch.equal(weight[16:], weight[:16].flip(3))
    assert torch.equal(weight[:8], -weight[8:16])
    assert not torch.allclose(weight[:8], weight[:8].flip(3), atol=1e-2)
    # On patches of both sides, outputs are uncorrelated, with variance 1.
    both = torch.cat([images, images.flip(3)])
    after = torch.cov(answers(convolution, both)[:, [*range(8), *range(16, 24)]].T)
    assert (after - torch.diag(after.diagonal())).abs().max() < 0.03
    assert 0.9 < after.diagonal().min() <= after.diagonal().max() < 1.03


def test_the_number_of_mirrored_filters():
    convolution = nn.Conv2d(3, 54, 3, bias=False)
    before = convolution.weight.detach().clone()
    whiten(network_of(convolution), smooth(), ENGINE, mirror_symmetric=True)
    weight = convolution.weight.detach()
    # Nine of 27 are changed by mirroring: with both signs and both sides these are 36.
    assert torch.equal(weight[18:27], before[18:27])
    assert torch.equal(weight[45:], before[45:])
    assert torch.equal(weight[:9], -weight[9:18])


def test_filters_beyond_the_directions_keep_their_weights():
    convolution = nn.Conv2d(3, 30, 2, bias=True)
    weight, bias = convolution.weight.detach().clone(), convolution.bias.detach().clone()
    whiten(network_of(convolution), smooth(), ENGINE)
    assert torch.equal(convolution.weight[24:], weight[24:])
    assert not torch.isclose(convolution.weight[:24], weight[:24]).any()
    assert torch.equal(convolution.bias, bias)


def test_images_of_one_colour():
    convolution = nn.Conv2d(3, 8, 3)
    whiten(network_of(convolution), torch.full((4, 3, 8, 8), 9, dtype=torch.uint8), ENGINE)
    assert convolution.weight.isfinite().all()


def test_a_part_of_many_large_images_is_used(monkeypatch):
    monkeypatch.setattr("early_exit.training.whitening.PATCHES", 5 * 12 * 12)
    monkeypatch.setattr("early_exit.training.whitening.IMAGES", 2)
    seen = []
    prepare = Engine.prepare
    monkeypatch.setattr(Engine, "prepare", lambda *of: seen.append(of[1]) or prepare(*of))
    images = smooth(50)
    whiten(network_of(nn.Conv2d(3, 8, 3)), images, ENGINE)
    (some,) = seen
    assert torch.equal(some, images[::10])


def test_a_part_of_the_positions_of_large_images_is_used(monkeypatch):
    monkeypatch.setattr("early_exit.training.whitening.PATCHES", 10 * 36)
    monkeypatch.setattr("early_exit.training.whitening.IMAGES", 10)
    # Four times as many positions as patches: every other row and column.
    patches = _patches(smooth(50), (3, 3), ENGINE)
    assert len(patches) == 10 * 5 * 5


@pytest.mark.parametrize("size", [(5, 3), (3, 5)])
def test_a_convolution_larger_than_the_images_is_an_error(size):
    with pytest.raises(InputError, match=rf"whitening: .*\({size[0]}, {size[1]}\) is larger .*4\)"):
        whiten(network_of(nn.Conv2d(3, 8, size)), smooth(side=4), ENGINE)


@pytest.mark.parametrize(
    "first",
    [
        nn.Linear(12, 12),
        nn.Conv2d(1, 8, 3),
        nn.Conv2d(3, 6, 3, groups=3),
        nn.Sequential(nn.Conv2d(3, 1, 3), nn.Conv2d(3, 8, 3)),
    ],
)
def test_a_network_without_a_first_convolution_is_an_error(first):
    with pytest.raises(InputError, match=r"training\.whitening: .*set it to false"):
        whiten(network_of(first), smooth(), ENGINE)


def test_training_starts_from_whitened_filters():
    images = smooth(16, side=32)
    data = Split(images, torch.arange(16) % 10, torch.arange(16))

    def first(whitening, rate):
        torch.manual_seed(0)
        network = build_network("compact", 10, [3, 32, 32])
        recipe = Recipe(1, 8, rate, 0.0, optimizer="sgd", whitening=whitening)
        train(network, data, recipe, 0)
        return network.stages[0][0].conv.weight.detach()

    still = first(True, 1e-12)
    assert torch.allclose(still[:8], -still[8:])
    assert not torch.allclose(first(False, 1e-12)[:8], still[:8])
    moved = first(True, 0.1)
    assert not torch.equal(moved, still)


def test_loaded_weights_are_not_replaced():
    with pytest.raises(InputError, match=r"training\.whitening: it would replace weights"):
        network_train.load_start_weights(
            SmallNetwork(), "weights.pt", None, {"training": {"whitening": True}}
        )
