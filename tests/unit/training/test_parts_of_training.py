"""Parts of training: augmentation, loss, learning rate, averaging."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from early_exit.training.augmentation import (
    AUGMENTATIONS,
    crop,
    cut_mix,
    cut_out,
    mixed_labels,
    turns,
)
from early_exit.training.averaging import running_average, settle_batch_norm
from early_exit.training.loss import TEMPERATURE, JointLoss, exit_weights
from early_exit.training.optimizers import one_cycle, optimizer, set_rate

# Images to flip, where that does not matter.
NOBODY = torch.zeros(0, dtype=torch.bool)


def sown(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(samples: int, size: int = 5) -> torch.Tensor:
    """Images whose pixels are different numbers above 0."""
    pixels = torch.arange(1, 2 * size * size + 1, dtype=torch.uint8).reshape(2, size, size)
    return pixels.repeat(samples, 1, 1, 1)


def moved(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """An image shifted pixel by pixel, padded with black."""
    result = torch.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                result[:, y, x] = image[:, y - down, x - right]
    return result


def test_augmentation_draws_every_flip_and_shift_and_nothing_else():
    images = numbered(500)
    found = AUGMENTATIONS["flip_translate"](images, 1, NOBODY, sown())
    assert found.dtype == torch.uint8
    possible = [
        moved(flipped, down, right)
        for flipped in (images[0], images[0].flip(2))
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    ]
    which = [[torch.equal(one, other) for other in possible].index(True) for one in found]
    assert set(which) == set(range(18))
    assert 0.4 < sum(number >= 9 for number in which) / 500 < 0.6


def test_augmentation_is_the_same_for_a_seed():
    images = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8, generator=sown())
    augment = AUGMENTATIONS["flip_translate"]
    first = augment(images, 4, NOBODY, sown(1))
    assert torch.equal(first, augment(images, 4, NOBODY, sown(1)))
    assert not torch.equal(first, augment(images, 4, NOBODY, sown(2)))
    assert torch.equal(AUGMENTATIONS["none"](images, 4, NOBODY, sown()), images)


def test_alternating_flips_half_and_the_others_in_the_next_epoch():
    images = numbered(300)
    epochs = [turns(300, epoch, sown(3)) for epoch in (1, 2, 3)]
    assert 0.4 < epochs[0].float().mean() < 0.6
    assert torch.equal(epochs[1], ~epochs[0])
    assert torch.equal(epochs[2], epochs[0])
    found = AUGMENTATIONS["alternating_flip_translate"](images, 0, epochs[0], sown())
    expected = [one.flip(2) if its else one for one, its in zip(images, epochs[0], strict=True)]
    assert torch.equal(found, torch.stack(expected))


def test_crop_draws_every_window_and_nothing_else():
    images = torch.cat([numbered(200), numbered(200) + 100])[..., :4]
    found = crop(images, (3, 2), sown())
    which = set()
    for image, window in zip(images, found, strict=True):
        corners = [(top, left) for top in range(3) for left in range(3)]
        parts = [image[:, top : top + 3, left : left + 2] for top, left in corners]
        which.add([torch.equal(window, part) for part in parts].index(True))
    assert which == set(range(9))


def test_cutout_draws_every_position_of_one_square():
    images = torch.full((400, 2, 6, 6), 9, dtype=torch.uint8)
    found = cut_out(images, 2, sown())
    black = found == 0
    assert torch.equal(black[:, 0], black[:, 1])
    assert (found[~black] == 9).all()
    # A square of 2 around each centre: start at centre - 1, clipped at the top and left edge.
    possible = set()
    for top in range(-1, 5):
        for left in range(-1, 5):
            square = torch.zeros(6, 6, dtype=torch.bool)
            square[max(0, top) : top + 2, max(0, left) : left + 2] = True
            possible.add(tuple(square.flatten().tolist()))
    assert {tuple(one.flatten().tolist()) for one in black[:, 0]} == possible


def test_cutmix_pastes_a_rectangle_of_the_previous_image():
    number = torch.arange(2000, dtype=torch.uint8) % 200
    images = number[:, None, None, None].expand(-1, 3, 4, 4)
    found, own = cut_mix(images, 0.5, sown())
    covered = found != images
    assert torch.equal(found, torch.where(covered, images.roll(1, 0), images))
    # Sides of 0 to 3 of 4 pixels, since the root of a half is 0.71; square like the image.
    possible = {torch.zeros(4, 4, dtype=torch.bool)}
    for side in (1, 2, 3):
        for top in range(5 - side):
            for left in range(5 - side):
                square = torch.zeros(4, 4, dtype=torch.bool)
                square[top : top + side, left : left + side] = True
                possible.add(square)
    assert torch.equal(covered[:, 0], covered[:, 2])
    squares = {tuple(one.flatten().tolist()) for one in covered[:, 0]}
    assert squares == {tuple(one.flatten().tolist()) for one in possible}
    assert torch.allclose(own, 1 - covered.float().mean(dim=(1, 2, 3)))


def test_cutmix_shares_are_uniform():
    images = torch.arange(200, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 64, 32)
    _, own = cut_mix(images.repeat(20, 1, 1, 1), 0.4, sown())
    shares = torch.histc(1 - own, 4, 0.0, 0.4) / len(own)
    assert torch.allclose(shares, torch.full((4,), 0.25), atol=0.03)


def test_labels_are_mixed_as_their_images():
    mixed = mixed_labels(torch.tensor([2, 0, 0]), torch.tensor([0.75, 0.5, 1.0]), 3)
    assert mixed.tolist() == [[0.25, 0, 0.75], [0.5, 0, 0.5], [1, 0, 0]]
    logits = torch.randn(3, 2, 3, generator=sown())
    loss = JointLoss((0.5, 0.5), label_smoothing=0.1)
    own, other = (loss(logits[:2], torch.tensor(labels)) for labels in ([2, 0], [0, 2]))
    halves = mixed_labels(torch.tensor([2, 0]), torch.tensor([0.5, 0.5]), 3)
    assert loss(logits[:2], halves).item() == pytest.approx((own + other).item() / 2)


def test_the_joint_loss_of_two_exits_by_hand():
    logits = torch.tensor([[[0.0, 0.0], [math.log(3.0), 0.0]]])
    label = torch.tensor([0])
    plain = JointLoss((0.25, 0.75))(logits, label)
    assert plain.item() == pytest.approx(0.25 * math.log(2) + 0.75 * math.log(4 / 3))
    # A tenth of the label is spread: 0.95 on class 0, 0.05 on class 1.
    smoothed = JointLoss((0.0, 1.0), label_smoothing=0.1)(logits, label)
    assert smoothed.item() == pytest.approx(-0.95 * math.log(3 / 4) - 0.05 * math.log(1 / 4))


def test_distillation_moves_the_early_exit_and_not_the_final_one():
    logits = torch.tensor([[[0.3, -0.2], [1.2, 0.1]]], requires_grad=True)
    label = torch.tensor([0])
    weights = (0.5, 0.5)
    plain = JointLoss(weights)(logits, label)
    distilled = JointLoss(weights, distillation=2.0)(logits, label)
    teacher = functional.softmax(logits[0, 1].detach() / TEMPERATURE, 0)
    student = functional.log_softmax(logits[0, 0].detach() / TEMPERATURE, 0)
    distance = (teacher * (teacher.log() - student)).sum() * TEMPERATURE**2
    assert (distilled - plain).item() == pytest.approx(0.5 * 2.0 * distance.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(distilled - plain, logits)
    assert torch.allclose(gradient[0, 1], torch.zeros(2), atol=1e-7)
    # Towards the final exit's prediction: class 0, with a higher probability.
    assert gradient[0, 0, 0] < 0 < gradient[0, 0, 1]


def test_exit_weights_sum_to_one():
    assert exit_weights(None, 4) == (0.25,) * 4
    assert exit_weights((1.0, 3.0), 2) == (0.25, 0.75)


@pytest.mark.parametrize("steps", [2, 3, 4, 7, 10, 100, 1000])
def test_one_cycle_equals_that_of_pytorch(steps):
    peak = 0.3
    parameter = nn.Parameter(torch.zeros(1))
    other = torch.optim.SGD([parameter], peak)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        other, peak, total_steps=steps, cycle_momentum=False
    )
    for step in range(steps):
        own = peak * one_cycle(step, steps)
        assert own == pytest.approx(other.param_groups[0]["lr"], abs=1e-12)
        other.step()
        if step < steps - 1:
            schedule.step()


def test_one_cycle_of_one_step():
    assert one_cycle(0, 1) == 1


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_biases_and_batch_norm_do_not_decay(name):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
    own = optimizer(name, network, weight_decay=0.1)
    set_rate(own, 0.5)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    own.step()
    convolution, norm = network
    assert (convolution.weight < 1).all()
    assert (convolution.bias == 1).all()
    assert (norm.weight == 1).all()


def test_the_running_average_by_hand():
    network = nn.Linear(1, 1, bias=False)
    average = running_average(network, 0.2)
    for value in (1.0, 2.0, 4.0):
        with torch.no_grad():
            network.weight.fill_(value)
        average.update_parameters(network)
    # 1; then by 2/11, which is below 0.2: (2 x 1 + 9 x 2) / 11 = 20/11; then by 0.2, below 3/12.
    assert average.module.weight.item() == pytest.approx(0.2 * 20 / 11 + 0.8 * 4)


def test_a_short_training_forgets_the_initial_weights():
    network = nn.Linear(1, 1, bias=False)
    average = running_average(network, 0.998)
    for step in range(100):
        with torch.no_grad():
            network.weight.fill_(float(step > 0))
        average.update_parameters(network)
    assert average.module.weight.item() > 0.99


def test_batch_norm_is_recomputed_without_dropout():
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(2, momentum=0.3))
    network[1].running_mean.fill_(99.0)
    batches = torch.randn(4, 50, 2, generator=sown()) * 3 + 5
    settle_batch_norm(network, batches)
    assert torch.allclose(network[1].running_mean, batches.mean((0, 1)), atol=1e-5)
    assert torch.allclose(network[1].running_var, batches.var(1).mean(0), rtol=1e-5)
    assert network[1].momentum == 0.3
    assert not any(module.training for module in network.modules())
