"""Distillation from a teacher: a trained network whose final exit is the target."""

from __future__ import annotations

import math

import torch

from early_exit.inference.engine import Engine
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import is_cascade, output
from early_exit.structures.tree import Structure
from early_exit.training.loss import softened


class Teacher:
    """Predictions of a trained network for augmented images.

    It takes the same augmented images as the student (Beyer et al. 2022, section 3). With
    ``mirrored`` it predicts the mean over an image and its mirror image, which is more accurate
    than either.

    Attributes
    ----------
    network
        Its stages and final head run in the engine's precision; it is not trained.
    engine
        Device, precision and normalisation.
    mirrored
        Whether to average over mirror images, as for a student that is trained on them.
    """

    def __init__(self, network: MultiExitNetwork, engine: Engine, mirrored: bool) -> None:
        self.network, self.engine, self.mirrored = engine.ready(network), engine, mirrored

    @torch.no_grad()
    def __call__(self, inputs: Structure) -> torch.Tensor:
        """Softened log-probabilities (N, C) for images, uint8, or other inputs of a data set."""
        predicted = self._predicted(inputs)
        if self.mirrored:
            predicted = torch.logaddexp(predicted, self._predicted(inputs.flip(3))) - math.log(2)
        return predicted

    def _predicted(self, inputs: Structure) -> torch.Tensor:
        prepared = self.engine.prepare(inputs)
        if is_cascade(self.network):
            return softened(self.network(prepared)[:, -1])
        features = prepared
        for stage in self.network.stages:
            features = stage(features)
        return softened(output(self.network.heads[-1](features)).logits)
