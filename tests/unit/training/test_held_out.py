"""Samples held out of the train split: chosen by the seed, measured, never trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from early_exit.datasets.base import Split
from early_exit.datasets.lazy_images import Images
from early_exit.errors import InputError
from early_exit.inference.engine import REFERENCE
from early_exit.inference.exits import all_exits
from early_exit.training.held_out import set_apart
from early_exit.training.loop import train
from early_exit.training.recipe import Recipe
from helpers import SmallNetwork, random_images

RECIPE = Recipe(epochs=3, batch_size=16, learning_rate=0.02, weight_decay=0.0)


def made(samples: int = 80) -> Split:
    images = random_images(samples, 3)
    return Split(images, (images[:, 0, 0, 0] // 64).long(), torch.arange(samples))


def weights(network) -> torch.Tensor:
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


def test_every_sample_is_trained_on_or_held_out():
    data = made()
    rest, held = set_apart(data, 0.25, seed=3)
    assert (len(rest), len(held)) == (60, 20)
    assert sorted([*rest.index.tolist(), *held.index.tolist()]) == [*range(80)]
    assert torch.equal(held.inputs, data.inputs[held.index])
    assert torch.equal(held.labels, data.labels[held.index])
    assert torch.equal(set_apart(data, 0.25, seed=3)[1].index, held.index)
    assert not torch.equal(set_apart(data, 0.25, seed=4)[1].index, held.index)
    # A split that is sorted by class loses some of each class, not the last one.
    assert held.index.min() < 20 < 60 < held.index.max()


def test_nothing_is_held_out_by_default():
    data = made()
    assert set_apart(data, RECIPE.held_out, seed=0) == (data, None)
    log = train(SmallNetwork(), data, RECIPE, seed=0)
    assert [name for name in log if name.startswith("held_out")] == []


def test_training_is_that_of_the_remaining_samples():
    """Neither are the others trained on, nor does measuring them change the training."""
    data, one, other = made(), SmallNetwork(), SmallNetwork()
    log = train(one, data, replace(RECIPE, held_out=0.25), seed=3)
    plain = train(other, set_apart(data, 0.25, seed=3)[0], RECIPE, seed=3)
    assert torch.equal(weights(one), weights(other))
    assert log.loss.tolist() == plain.loss.tolist()


def test_the_accuracy_of_each_exit_after_each_epoch():
    data, network = made(), SmallNetwork()
    log = train(network, data, replace(RECIPE, held_out=0.25), seed=3)
    held = set_apart(data, 0.25, seed=3)[1]
    logits = all_exits(network, held.inputs, 7, REFERENCE)
    right = (logits.argmax(axis=2) == held.labels.numpy()[:, None]).mean(axis=0)
    columns = [f"held_out_{k}" for k in (1, 2, 3)]
    # Without an average of the weights, those of the last epoch are the result.
    assert log[columns].iloc[-1].tolist() == pytest.approx(right.tolist())
    assert (log.held_out_samples == 20).all()
    assert log[columns].apply(lambda column: column.between(0, 1)).all(axis=None)
    assert np.ptp(log[columns].to_numpy()) > 0


@pytest.mark.parametrize(("share", "samples"), [(0.1, 3), (0.5, 3)])
def test_too_few_samples_are_refused(share, samples):
    with pytest.raises(InputError, match=rf"training\.held_out: {share:g} of 3 samples are \d"):
        set_apart(made(samples), share, seed=0)


def test_lazy_images_stay_unread():
    files = [Path(f"nowhere/{number}.png") for number in range(20)]
    lazy = Split(Images(files, (3, 4, 4)), torch.arange(20), torch.arange(20))
    rest, held = set_apart(lazy, 0.25, seed=0)
    assert [files[k] for k in held.index.tolist()] == [*held.inputs.files]
    assert len(rest.inputs) == 15
