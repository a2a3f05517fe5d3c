"""Cutting a data set into its splits, the same for the same seed on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from early_exit.errors import InputError

# Default size of a split: a tenth of the samples.
SHARE = 10


def held_out(samples: int, calibration: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the train and the calibration split of ``samples`` samples.

    The permutation is that of ``torch.manual_seed(seed); random_split(...)``: with seed 42 and
    5,000 samples of CIFAR-10 it is the published experiment's calibration split.

    Raises
    ------
    InputError
        If one of the splits would be empty.
    """
    if not 0 < calibration < samples:
        raise InputError(
            f"dataset.calibration: {calibration} of {samples} samples",
            "give at least 1 and leave some to train on",
        )
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
    return order[: samples - calibration], order[samples - calibration :]


def in_three(samples: Mapping[str, int], settings: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Indices of the three splits of a user's data set, which run through all parts.

    A split without a part of its own is cut by ``split_seed``: calibration from train, test from
    calibration if that is a part (no network was trained on it), otherwise from train.

    Parameters
    ----------
    samples
        Number of samples by part, in the order of :data:`~early_exit.datasets.parts.PARTS`;
        ``train`` is one of them.
    settings
        Sizes of the splits, ``calibration`` and ``test``; ``None`` is a tenth (of a calibration
        part, half).

    Raises
    ------
    InputError
        If a split would be empty.
    """
    seed, found, start = settings["split_seed"], {}, 0
    for part, number in samples.items():
        found[part] = start + torch.arange(number)
        start += number
    share = max(1, samples["train"] // SHARE)
    if "test" not in found:
        source = "calibration" if "calibration" in found else "train"
        total = samples[source]
        own = max(1, total // 2) if source == "calibration" else share
        test = own if settings["test"] is None else settings["test"]
        if not 0 < test < total:
            raise InputError(
                f"dataset.test: {test} of {total} {'calibration ' * (source != 'train')}samples",
                f"give 1 to {total - 1}",
            )
        rest, chosen = held_out(total, test, seed)
        found["test"], found[source] = found[source][chosen], found[source][rest]
    if "calibration" not in found:
        own = share if settings["calibration"] is None else settings["calibration"]
        rest, chosen = held_out(len(found["train"]), own, seed)
        found["calibration"], found["train"] = found["train"][chosen], found["train"][rest]
    return found
