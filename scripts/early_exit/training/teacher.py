"""The teacher: a trained network, whose final exit says what every exit should say."""

from __future__ import annotations

import math

import torch

from early_exit.engine import Engine
from early_exit.networks import MultiExitNetwork
from early_exit.training.loss import softened


class Teacher:
    """What a trained network says of pictures, as they come after augmentation.

    It sees what the student sees, so that it can be wrong about a picture and still be worth
    listening to (Beyer et al. 2022, section 3). Of a picture and its mirror image it gives the
    mean, which is right more often than either; its student needs one look.

    Attributes
    ----------
    network
        Its stages and final head are run, in the engine's precision; nothing in it is trained.
    engine
        Where it runs.
    mirrored
        Whether mirror images count, which they do where the student is shown them.
    """

    def __init__(self, network: MultiExitNetwork, engine: Engine, mirrored: bool) -> None:
        self.network, self.engine, self.mirrored = engine.ready(network), engine, mirrored

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Softened log-probabilities (N, C) of pictures (N, channels, height, width), uint8."""
        said = self._said(images)
        if self.mirrored:
            said = torch.logaddexp(said, self._said(images.flip(3))) - math.log(2)
        return said

    def _said(self, images: torch.Tensor) -> torch.Tensor:
        features = self.engine.pictures(images)
        for stage in self.network.stages:
            features = stage(features)
        return softened(self.network.heads[-1](features))
