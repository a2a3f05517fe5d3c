"""The training loop."""

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

from early_exit.datasets.base import Split
from early_exit.errors import InputError
from early_exit.inference.engine import PRECISIONS, Engine
from early_exit.networks import MultiExitNetwork
from early_exit.networks.gradients import check_gradients
from early_exit.networks.heads import run_heads
from early_exit.structures.inputs import InputSpec
from early_exit.structures.tree import Structure, moved, rows
from early_exit.training.augmentation import (
    AUGMENTATIONS,
    crop,
    cut_mix,
    cut_out,
    mixed_labels,
    turns,
)
from early_exit.training.averaging import running_average, settle_batch_norm
from early_exit.training.checks import (
    check_crop,
    check_no_images,
    check_sizes,
    check_teacher,
    check_trained,
)
from early_exit.training.held_out import held_out_accuracy, set_apart
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
    images: bool = True,
    teacher: MultiExitNetwork | None = None,
) -> pd.DataFrame:
    """Train in place. Deterministic on the CPU for a seed and a number of threads.

    Parameters
    ----------
    network
        A freshly built network of K exits. It ends on the CPU, in evaluation mode.
    data
        The train split.
    device
        ``cpu`` or ``cuda``.
    saved
        File of the state after each epoch, from which training resumes. It is kept at the end:
        remove it once the result is saved.
    fresh
        Heads, from 0, with new weights: under ``freeze_backbone`` they are trained, also the final
        one.
    mean, std, images
        See :class:`~early_exit.inference.engine.Engine`.
    teacher
        A trained network for as many classes, from which the exits learn instead of the labels. It
        is converted to the recipe's precision in place.

    Returns
    -------
    pandas.DataFrame
        A row per epoch: ``epoch``, ``loss``, ``accuracy_1`` .. ``accuracy_K`` (on the augmented
        train split, during training) and ``seconds``; with ``held_out``, the accuracy on those
        samples after the epoch (``held_out_1`` .. ``held_out_K``, ``held_out_samples``).

    Raises
    ------
    InputError
        If the weights do not fit the exits or the recipe does not fit the images, the split has
        fewer than 2 samples, the device is missing, a head would not be trained, tied weights do
        not make the network symmetric, or the loss diverges.
    """
    data, held = set_apart(data, recipe.held_out, seed)
    if len(data) < 2:
        raise InputError(f"training: {len(data)} samples", "give the train split at least 2")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("training.device: no CUDA device", "set it to cpu")
    spec = _spec(data, recipe, images)
    weights = exit_weights(recipe.exit_weights, len(network.heads))
    kept = _backbone(network, fresh) if recipe.freeze_backbone else []
    for part in kept:
        part.requires_grad_(False)
    check_trained(network, weights)
    # The check runs on the CPU, which may not support the GPU's precision.
    precision = recipe.precision if device == "cpu" else "fp32"
    check_gradients(network, weights, spec, PRECISIONS[precision])
    if recipe.crop:
        check_crop(network, weights, recipe.crop, spec.shape[0])
    if teacher:
        check_teacher(recipe, teacher, spec)
    engine = Engine(device, mean=mean, std=std, images=images)
    symmetry = _symmetry(network, recipe, list(spec.shape)) if recipe.mirror_symmetric else None
    if recipe.whitening:
        whiten(network, data.inputs, engine, recipe.mirror_symmetric)
    training = _Training(network, data, recipe, seed, engine, kept, teacher, symmetry, held)
    found = saved.load() if saved else None
    if found:
        training.restore(found)
        LOGGER.info("Resuming after epoch %d of %d", len(training.log), recipe.epochs)
    with training.progress() as bar, _scaled_dropout(network, recipe.dropout_scale):
        while len(training.log) < recipe.epochs:
            training.epoch(bar)
            if saved:
                saved.save(training.state())
    training.finish()
    return pd.DataFrame(training.log)


def _spec(data: Split, recipe: Recipe, images: bool) -> InputSpec:
    """What the network takes, once the recipe is checked to suit it."""
    if not images:
        check_no_images(recipe)
        return InputSpec.of_samples(data.inputs)
    spec = InputSpec.of(data.inputs.shape[1:])
    check_sizes(recipe, spec.shape[1:])
    return spec


def _backbone(network: MultiExitNetwork, fresh: Collection[int]) -> list[nn.Module]:
    """The network without early exits: the stages, and the final head unless it is new."""
    last = len(network.heads) - 1
    return [*network.stages, *([] if last in fresh else [network.heads[last]])]


def _symmetry(network: MultiExitNetwork, recipe: Recipe, shape: list[int]) -> MirrorSymmetry:
    """Tie the weights, once the symmetry is checked for all image sizes."""
    check_symmetric(network, shape)
    if recipe.crop:
        check_symmetric(network, [shape[0], recipe.crop, recipe.crop])
    return MirrorSymmetry(network)


class _Training:
    """State of a training run, and its epochs.

    An epoch's randomness depends only on the seed and its number, so a resumed training equals an
    uninterrupted one.
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
        held: Split | None = None,
    ) -> None:
        self.symmetry, self.held = symmetry, held
        self.recipe, self.seed, self.engine, self.kept = recipe, seed, engine, kept
        self.weights = exit_weights(recipe.exit_weights, len(network.heads))
        self.network = engine.ready(network)
        self.inputs = moved(data.inputs, engine.device)
        self.labels = data.labels.to(engine.device)
        self.steps = max(1, len(data) // recipe.batch_size)
        self.optimizer = optimizer(recipe.optimizer, network, recipe.weight_decay)
        averaged = recipe.averaging is not None
        self.average = running_average(network, recipe.averaging) if averaged else None
        same = replace(engine, precision=recipe.precision)
        self.teacher = Teacher(teacher, same, recipe.augmentation != "none") if teacher else None
        self.log: list[dict[str, float]] = []

    def state(self) -> dict[str, Any]:
        """State that the next epochs depend on."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "log": self.log,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a result of :meth:`state`."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.log = list(state["log"])

    def progress(self) -> tqdm:
        """Progress bar over all steps."""
        done, total = len(self.log) * self.steps, self.recipe.epochs * self.steps
        return tqdm(total=total, initial=done, desc="training", unit="step", disable=None)

    def epoch(self, bar: tqdm) -> None:
        """Train for one epoch, and add its row to the log."""
        start = time.perf_counter()
        number = len(self.log) + 1
        generator = self._seeded(number)
        rates, loss_of = self._phase(number)
        still = idle(self.network, loss_of.weights)
        samples = len(self.labels)
        mirrored = self._mirrored(number)
        order = torch.randperm(samples, generator=generator).to(self.labels.device)
        total = torch.zeros((), device=order.device)
        correct = torch.zeros(len(self.weights), device=order.device)
        self.network.train()
        for part in self.kept:
            # Freezes batch norm's statistics, and disables dropout.
            part.eval()
        for rate, chunk in zip(rates, order.tensor_split(self.steps), strict=True):
            inputs, own = self._augmented(number, chunk, mirrored, generator)
            loss, correct_of = self._step(inputs, self.labels[chunk], own, rate, loss_of, still)
            total += loss * len(chunk)
            correct += correct_of
            bar.update()
        self._note(number, float(total) / samples, correct / samples, start, bar)

    def finish(self) -> None:
        """Take the averaged and tied weights, if any; move to the CPU, in evaluation mode."""
        if self.average:
            self.network.load_state_dict(self.average.module.state_dict())
            settle_batch_norm(self.network, self._as_trained(), self.kept)
        if self.symmetry:
            self.symmetry.tie()
        self.network.eval().to("cpu")

    def _as_trained(self) -> Iterator[Structure]:
        """The train split, augmented as in an epoch after the last.

        With statistics of images without augmentation, networks lost one to two points of accuracy.
        """
        number = self.recipe.epochs + 1
        generator, mirrored = self._seeded(number), self._mirrored(number)
        order = torch.arange(len(self.labels), device=self.labels.device)
        for chunk in order.tensor_split(self.steps):
            inputs, _ = self._augmented(number, chunk, mirrored, generator)
            yield self.engine.prepare(inputs)

    def _seeded(self, number: int) -> torch.Generator:
        """Seed dropout, and return the generator for order and augmentation."""
        first, second = np.random.SeedSequence([self.seed, number]).generate_state(2, np.uint64)
        torch.manual_seed(int(first))
        return torch.Generator().manual_seed(int(second))

    def _mirrored(self, number: int) -> torch.Tensor:
        """Images to flip in an epoch."""
        return turns(len(self.labels), number, torch.Generator().manual_seed(self.seed))

    def _phase(self, number: int) -> tuple[list[float], JointLoss]:
        """Learning rates of an epoch's steps, and its loss: the final exit's, or the joint one."""
        recipe = self.recipe
        of_backbone = number <= recipe.backbone_epochs
        before = 0 if of_backbone else recipe.backbone_epochs
        epochs = recipe.backbone_epochs if of_backbone else recipe.epochs - recipe.backbone_epochs
        final = (0.0,) * (len(self.weights) - 1) + (1.0,)
        first = (number - 1 - before) * self.steps
        rates = [
            recipe.learning_rate * one_cycle(first + step, epochs * self.steps)
            for step in range(self.steps)
        ]
        weights = final if of_backbone else self.weights
        return rates, JointLoss(weights, recipe.label_smoothing, recipe.distillation)

    def _step(
        self,
        inputs: Structure,
        labels: torch.Tensor,
        own: torch.Tensor | None,
        rate: float,
        loss_of: JointLoss,
        still: Collection[nn.Parameter],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take one step; its loss, and the number of correct samples of each exit.

        Parameters in ``still`` do not change. ``own`` is the uncovered share of each image after
        :func:`cut_mix`; its label counts as correct.
        """
        reduced = self.recipe.precision != "fp32"
        with torch.autocast(self.engine.device, PRECISIONS[self.recipe.precision], enabled=reduced):
            outputs = run_heads(self.network, self.engine.prepare(inputs))
        logits = torch.stack([one.logits for one in outputs], dim=1)
        if self.teacher:
            loss = loss_of.taught(logits, self.teacher(inputs))
        else:
            goal = labels if own is None else mixed_labels(labels, own, logits.shape[2])
            loss = loss_of(logits, goal)
        loss = loss + loss_of.of_confidences(outputs, labels)
        set_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.symmetry:
            self.symmetry.tie_gradients()
        for parameter in still:
            # With a gradient of 0 it would still decay.
            parameter.grad = None
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.network)
        return loss.detach(), (logits.argmax(dim=2) == labels[:, None]).sum(dim=0)

    def _augmented(
        self, number: int, chunk: torch.Tensor, mirrored: torch.Tensor, generator: torch.Generator
    ) -> tuple[Structure, torch.Tensor | None]:
        """Augmented images of a batch, and the uncovered share of each if they are mixed.

        Other inputs are not changed.
        """
        recipe = self.recipe
        if not self.engine.images:
            return rows(self.inputs, chunk), None
        augment = AUGMENTATIONS[recipe.augmentation]
        images = augment(self.inputs[chunk], recipe.translate, mirrored[chunk.cpu()], generator)
        if recipe.cutout:
            images = cut_out(images, recipe.cutout, generator)
        if number <= recipe.crop_epochs:
            images = crop(images, self._shape(number), generator)
        if recipe.cutmix:
            return cut_mix(images, recipe.cutmix, generator)
        return images, None

    def _shape(self, number: int) -> tuple[int, int]:
        """Height and width of the images in an epoch; of other inputs (1, 1)."""
        side, full = self.recipe.crop, self.inputs.shape[2:] if self.engine.images else (1, 1)
        return (side, side) if number <= self.recipe.crop_epochs else (full[0], full[1])

    def _note(
        self, number: int, loss: float, accuracy: torch.Tensor, start: float, bar: tqdm
    ) -> None:
        if not loss < float("inf"):
            raise InputError(
                f"training: the loss became {loss} in epoch {number}",
                "lower training.learning_rate",
            )
        shares = {f"accuracy_{k}": share for k, share in enumerate(accuracy.tolist(), 1)}
        size = self.recipe.batch_size
        measured = (
            held_out_accuracy(self.network, self.held, size, self.engine) if self.held else {}
        )
        seconds = time.perf_counter() - start
        row = {"epoch": number, "loss": loss, **shares, **measured, "seconds": seconds}
        self.log.append(row)
        exits = " ".join(f"{share:.3f}" for share in shares.values())
        remaining = self._seconds_left(number)
        bar.set_postfix_str(f"loss {loss:.3f}, accuracy {exits}")
        LOGGER.info(
            "Epoch %d of %d: loss %.4f, accuracy %s; %.0f s, about %.0f min left",
            *(number, self.recipe.epochs, loss, exits, seconds, remaining / 60),
        )

    def _seconds_left(self, number: int) -> float:
        """Estimate of the remaining time after an epoch, by the number of pixels."""
        pixels = [np.prod(self._shape(epoch)) for epoch in range(1, self.recipe.epochs + 1)]
        spent = sum(row["seconds"] for row in self.log)
        return spent * sum(pixels[number:]) / sum(pixels[:number])


@contextmanager
def _scaled_dropout(network: nn.Module, scale: float) -> Iterator[None]:
    """Scale the dropout probabilities within the block."""
    dropouts = [m for m in network.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]
    before = [dropout.p for dropout in dropouts]
    for dropout in dropouts:
        dropout.p = min(1.0, dropout.p * scale)
    try:
        yield
    finally:
        for dropout, p in zip(dropouts, before, strict=True):
            dropout.p = p
