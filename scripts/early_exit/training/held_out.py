"""Samples of the train split that are not trained on, to see how training generalises."""

from __future__ import annotations

import torch

from early_exit.datasets.base import Split
from early_exit.errors import InputError
from early_exit.inference.engine import Engine
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import logits_and_confidences
from early_exit.structures.tree import rows


def set_apart(data: Split, share: float, seed: int) -> tuple[Split, Split | None]:
    """The samples to train on, and those held out: a random ``share`` of the split, by the seed.

    Without a share the split stays as it is, and ``None`` is held out.

    Raises
    ------
    InputError
        If no sample would be held out, or fewer than 2 would be left.
    """
    if not share:
        return data, None
    count = round(share * len(data))
    if not 1 <= count <= len(data) - 2:
        raise InputError(
            f"training.held_out: {share:g} of {len(data)} samples are {count}",
            "hold out at least 1 and leave at least 2, or set it to 0",
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.part(order[count:].sort().values), data.part(order[:count].sort().values)


@torch.inference_mode()
def held_out_accuracy(
    network: MultiExitNetwork, held: Split, batch_size: int, engine: Engine
) -> dict[str, float]:
    """Accuracy of each exit on held-out samples: ``held_out_1`` to ``held_out_K``; their number.

    The samples are not augmented, and the network is in evaluation mode, as when it is used.
    """
    starts = range(0, len(held), batch_size)
    chunks = (rows(held.inputs, slice(start, start + batch_size)) for start in starts)
    network = engine.ready(network)
    # Not by the step that records exits: an edit in it would train every network again.
    batches = [logits_and_confidences(network, engine.prepare(chunk))[0] for chunk in chunks]
    right = torch.cat(batches).argmax(dim=2).cpu() == held.labels[:, None]
    shares = right.double().mean(dim=0).tolist()
    found = {f"held_out_{k}": share for k, share in enumerate(shares, 1)}
    return found | {"held_out_samples": len(held)}
