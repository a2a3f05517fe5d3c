"""The loop: epochs over the train split, each of them finished or not begun."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from early_exit.datasets import Split
from early_exit.engine import PRECISIONS, Engine
from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.networks.checks import check_gradients
from early_exit.training.augmentation import (
    AUGMENTATIONS,
    crop,
    cut_mix,
    cut_out,
    mixed_labels,
    turns,
)
from early_exit.training.averaging import running_average, settle_batch_norm
from early_exit.training.checks import check_crop, check_sizes, check_teacher, check_trained
from early_exit.training.loss import JointLoss, exit_weights, idle
from early_exit.training.optimizers import one_cycle, optimizer, set_rate
from early_exit.training.recipe import Recipe
from early_exit.training.state import SavedState
from early_exit.training.symmetry import MirrorSymmetry, check_symmetric
from early_exit.training.teacher import Teacher
from early_exit.training.whitening import whiten

LOGGER = logging.getLogger(__name__)


def train(
    network: MultiExitNetwork,
    data: Split,
    recipe: Recipe,
    seed: int,
    device: str = "cpu",
    saved: SavedState | None = None,
    fresh: Collection[int] = (),
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    teacher: MultiExitNetwork | None = None,
) -> pd.DataFrame:
    """Train in place; deterministic for a seed on the CPU, and a number of threads.

    Parameters
    ----------
    network
        A freshly built network of K exits. It ends on the CPU, in evaluation mode.
    data
        The train split.
    device
        ``cpu`` or ``cuda``.
    saved
        Where the state is kept after each epoch, and gone on from. It stays when training is done:
        remove it once the result is safe.
    fresh
        Heads, from 0, without weights from elsewhere: under ``freeze_backbone`` they are trained,
        the last one too.
    mean, std
        Of each channel, as :class:`~early_exit.engine.Engine` has it.
    teacher
        A trained network for as many classes, from which the exits learn instead of the labels. It
        is put into the recipe's precision in place.

    Returns
    -------
    pandas.DataFrame
        A row an epoch: ``epoch``, ``loss``, ``accuracy_1`` .. ``accuracy_K`` (on the train split,
        as augmented, while training) and ``seconds``.

    Raises
    ------
    InputError
        If the weights do not fit the exits, the recipe not the pictures, the split is smaller than
        2, the device is not there, a head would not be trained, weights that are tied make no
        symmetry, or the loss diverges.
    """
    if len(data) < 2:
        raise InputError(f"training: {len(data)} samples; give the train split 2 at least")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("training.device: no CUDA device is there; set it to cpu")
    shape = list(data.images.shape[1:])
    check_sizes(recipe, shape[1:])
    weights = exit_weights(recipe.exit_weights, len(network.heads))
    kept = _backbone(network, fresh) if recipe.freeze_backbone else []
    for part in kept:
        part.requires_grad_(False)
    check_trained(network, weights)
    check_gradients(network, weights, shape)
    if recipe.crop:
        check_crop(network, weights, recipe.crop, shape[0])
    if teacher:
        check_teacher(recipe, teacher, shape[0])
    engine = Engine(device, mean=mean, std=std)
    symmetry = _symmetry(network, recipe, shape) if recipe.mirror_symmetric else None
    if recipe.whitening:
        whiten(network, data.images, engine, recipe.mirror_symmetric)
    training = _Training(network, data, recipe, seed, engine, kept, teacher, symmetry)
    found = saved.load() if saved else None
    if found:
        training.restore(found)
        LOGGER.info("Going on after epoch %d of %d", len(training.log), recipe.epochs)
    with training.progress() as bar, _scaled_dropout(network, recipe.dropout_scale):
        while len(training.log) < recipe.epochs:
            training.epoch(bar)
            if saved:
                saved.save(training.state())
    training.finish()
    return pd.DataFrame(training.log)


def _backbone(network: MultiExitNetwork, fresh: Collection[int]) -> list[nn.Module]:
    """The stages, and the final head if it does not start afresh: the network without exits."""
    last = len(network.heads) - 1
    return [*network.stages, *([] if last in fresh else [network.heads[last]])]


def _symmetry(network: MultiExitNetwork, recipe: Recipe, shape: list[int]) -> MirrorSymmetry:
    """Ties the weights, which must do for pictures of every size."""
    check_symmetric(network, shape)
    if recipe.crop:
        check_symmetric(network, [shape[0], recipe.crop, recipe.crop])
    return MirrorSymmetry(network)


class _Training:
    """What training changes, and one epoch of it.

    An epoch's randomness comes from the seed and the epoch's number alone, so that it is the same
    whether or not training was broken off before it.
    """

    def __init__(
        self,
        network: MultiExitNetwork,
        data: Split,
        recipe: Recipe,
        seed: int,
        engine: Engine,
        kept: Collection[nn.Module] = (),
        teacher: MultiExitNetwork | None = None,
        symmetry: MirrorSymmetry | None = None,
    ) -> None:
        self.symmetry = symmetry
        self.recipe, self.seed, self.engine, self.kept = recipe, seed, engine, kept
        self.weights = exit_weights(recipe.exit_weights, len(network.heads))
        self.network = engine.ready(network)
        self.images = data.images.to(engine.device)
        self.labels = data.labels.to(engine.device)
        self.steps = max(1, len(data) // recipe.batch_size)
        self.optimizer = optimizer(recipe.optimizer, network, recipe.weight_decay)
        averaged = recipe.averaging is not None
        self.average = running_average(network, recipe.averaging) if averaged else None
        same = replace(engine, precision=recipe.precision)
        self.teacher = Teacher(teacher, same, recipe.augmentation != "none") if teacher else None
        self.log: list[dict[str, float]] = []

    def state(self) -> dict[str, Any]:
        """All that the next epochs depend on."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "log": self.log,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put :meth:`state` back."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.log = list(state["log"])

    def progress(self) -> tqdm:
        """A bar of steps, with the time left."""
        done, total = len(self.log) * self.steps, self.recipe.epochs * self.steps
        return tqdm(total=total, initial=done, desc="training", unit="step", disable=None)

    def epoch(self, bar: tqdm) -> None:
        """One pass over the train split, and a row in the log."""
        start = time.perf_counter()
        number = len(self.log) + 1
        generator = self._sow(number)
        rates, loss_of = self._phase(number)
        still = idle(self.network, loss_of.weights)
        samples = len(self.labels)
        mirrored = self._mirrored(number)
        order = torch.randperm(samples, generator=generator).to(self.labels.device)
        total = torch.zeros((), device=order.device)
        correct = torch.zeros(len(self.weights), device=order.device)
        self.network.train()
        for part in self.kept:
            # Batch norm's statistics stay, too, and nothing is dropped out.
            part.eval()
        for rate, chunk in zip(rates, order.tensor_split(self.steps), strict=True):
            images, own = self._augmented(number, chunk, mirrored, generator)
            loss, right = self._step(images, self.labels[chunk], own, rate, loss_of, still)
            total += loss * len(chunk)
            correct += right
            bar.update()
        self._note(number, float(total) / samples, correct / samples, start, bar)

    def finish(self) -> None:
        """The average's weights, where there is one, and tied; evaluation mode, on the CPU."""
        if self.average:
            self.network.load_state_dict(self.average.module.state_dict())
            settle_batch_norm(self.network, self._as_trained(), self.kept)
        if self.symmetry:
            self.symmetry.tie()
        self.network.eval().to("cpu")

    def _as_trained(self) -> Iterator[torch.Tensor]:
        """The train split once more, augmented as in an epoch after the last.

        Weights go with the statistics that they were trained under: with those of pictures that no
        black has moved into, networks lost one to two points of accuracy.
        """
        number = self.recipe.epochs + 1
        generator, mirrored = self._sow(number), self._mirrored(number)
        order = torch.arange(len(self.labels), device=self.labels.device)
        for chunk in order.tensor_split(self.steps):
            images, _ = self._augmented(number, chunk, mirrored, generator)
            yield self.engine.pictures(images)

    def _sow(self, number: int) -> torch.Generator:
        """Seed dropout, and give the generator of the order and the augmentation."""
        first, second = np.random.SeedSequence([self.seed, number]).generate_state(2, np.uint64)
        torch.manual_seed(int(first))
        return torch.Generator().manual_seed(int(second))

    def _mirrored(self, number: int) -> torch.Tensor:
        """Whose turn it is to be mirrored in an epoch."""
        return turns(len(self.labels), number, torch.Generator().manual_seed(self.seed))

    def _phase(self, number: int) -> tuple[list[float], JointLoss]:
        """The rate at each step of an epoch, and its loss: the backbone's, or the joint one."""
        recipe = self.recipe
        alone = number <= recipe.backbone_epochs
        before = 0 if alone else recipe.backbone_epochs
        epochs = recipe.backbone_epochs if alone else recipe.epochs - recipe.backbone_epochs
        final = (0.0,) * (len(self.weights) - 1) + (1.0,)
        first = (number - 1 - before) * self.steps
        rates = [
            recipe.learning_rate * one_cycle(first + step, epochs * self.steps)
            for step in range(self.steps)
        ]
        weights = final if alone else self.weights
        return rates, JointLoss(weights, recipe.label_smoothing, recipe.distillation)

    def _step(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        own: torch.Tensor | None,
        rate: float,
        loss_of: JointLoss,
        still: Collection[nn.Parameter],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One step: its loss, and the samples that each exit got right; what is ``still`` stays.

        ``own`` is what :func:`cut_mix` has left of each picture, whose label is right even so.
        """
        reduced = self.recipe.precision != "fp32"
        with torch.autocast(self.engine.device, PRECISIONS[self.recipe.precision], enabled=reduced):
            logits = self.network(self.engine.pictures(images))
        if self.teacher:
            loss = loss_of.taught(logits, self.teacher(images))
        else:
            goal = labels if own is None else mixed_labels(labels, own, logits.shape[2])
            loss = loss_of(logits, goal)
        set_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.symmetry:
            self.symmetry.tie_gradients()
        for parameter in still:
            # Its gradient is 0; with none it is let alone, and does not decay.
            parameter.grad = None
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.network)
        return loss.detach(), (logits.argmax(dim=2) == labels[:, None]).sum(dim=0)

    def _augmented(
        self, number: int, chunk: torch.Tensor, mirrored: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The pictures of a batch in an epoch, by the recipe; what is left of each if mixed."""
        recipe = self.recipe
        augment = AUGMENTATIONS[recipe.augmentation]
        images = augment(self.images[chunk], recipe.translate, mirrored[chunk.cpu()], generator)
        if recipe.cutout:
            images = cut_out(images, recipe.cutout, generator)
        if number <= recipe.crop_epochs:
            images = crop(images, self._shape(number), generator)
        if recipe.cutmix:
            return cut_mix(images, recipe.cutmix, generator)
        return images, None

    def _shape(self, number: int) -> tuple[int, int]:
        """Height and width of the pictures in an epoch."""
        side, whole = self.recipe.crop, self.images.shape[2:]
        return (side, side) if number <= self.recipe.crop_epochs else (whole[0], whole[1])

    def _note(
        self, number: int, loss: float, accuracy: torch.Tensor, start: float, bar: tqdm
    ) -> None:
        if not loss < float("inf"):
            raise InputError(
                f"training: the loss became {loss} in epoch {number}; lower training.learning_rate"
            )
        shares = {f"accuracy_{k}": share for k, share in enumerate(accuracy.tolist(), 1)}
        seconds = time.perf_counter() - start
        self.log.append({"epoch": number, "loss": loss, **shares, "seconds": seconds})
        exits = " ".join(f"{share:.3f}" for share in shares.values())
        left = self._seconds_left(number)
        bar.set_postfix_str(f"loss {loss:.3f}, accuracy {exits}")
        LOGGER.info(
            "Epoch %d of %d: loss %.4f, accuracy %s; %.0f s, about %.0f min left",
            *(number, self.recipe.epochs, loss, exits, seconds, left / 60),
        )

    def _seconds_left(self, number: int) -> float:
        """After an epoch: the others take as long by the pixel as those behind."""
        pixels = [np.prod(self._shape(epoch)) for epoch in range(1, self.recipe.epochs + 1)]
        spent = sum(row["seconds"] for row in self.log)
        return spent * sum(pixels[number:]) / sum(pixels[:number])


@contextmanager
def _scaled_dropout(network: nn.Module, scale: float) -> Iterator[None]:
    """Multiply the dropout probabilities for a while."""
    dropouts = [m for m in network.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    before = [dropout.p for dropout in dropouts]
    for dropout in dropouts:
        dropout.p = min(1.0, dropout.p * scale)
    try:
        yield
    finally:
        for dropout, p in zip(dropouts, before, strict=True):
            dropout.p = p
