"""Cutting a data set into its splits, the same for the same seed on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def in_three(samples: Sequence[int], settings: dict[str, Any], own: int) -> dict[str, torch.Tensor]:
    """Indices of the splits of a data set of the user's.

    Parameters
    ----------
    samples
        How many there are: all, or those to train on and those to test on, which are numbered after
        them.
    settings
        ``calibration``, ``test`` and ``split_seed``.
    own
        How many are held out where a setting says nothing.

    Raises
    ------
    InputError
        If too few are left.
    """
    seed = settings["split_seed"]
    sizes = {
        key: own if settings[key] is None else settings[key] for key in ("calibration", "test")
    }
    total = samples[0]
    if len(samples) == 2:
        rest, test = torch.arange(total), total + torch.arange(samples[1])
    elif not 0 < sizes["test"] < total:
        raise InputError(f"dataset.test: {sizes['test']} of {total} samples; give 1 to {total - 1}")
    else:
        rest, test = held_out(total, sizes["test"], seed)
    train, calibration = held_out(len(rest), sizes["calibration"], seed)
    return {"train": rest[train], "calibration": rest[calibration], "test": test}
