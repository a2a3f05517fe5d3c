"""Cutting a data set into its splits, the same for the same seed on every machine."""

from __future__ import annotations

import torch

from early_exit.errors import InputError


def held_out(samples: int, calibration: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the train and the calibration split of ``samples`` samples.

    The permutation is that of ``torch.manual_seed(seed); random_split(...)``, so that seed 42 and
    5,000 of CIFAR-10 are the published experiment's calibration split.

    Raises
    ------
    InputError
        If the calibration split would take everything.
    """
    if not 0 < calibration < samples:
        raise InputError(
            f"dataset.calibration: {calibration} of {samples} samples; give at least 1 and leave"
            " some to train on"
        )
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
    return order[: samples - calibration], order[samples - calibration :]
