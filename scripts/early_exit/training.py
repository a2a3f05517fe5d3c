"""Training every exit jointly: the weighted sum of the exits' cross-entropies.

The loss is BranchyNet's (Teerapittayanon et al. 2016, section III-B, equation 2); the schedule is
one cycle (Smith and Topin 2018). It is a plain recipe that ends in seconds on a small data set.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pandas as pd
import torch
from torch.nn import functional
from tqdm import tqdm

from early_exit.datasets import Split
from early_exit.engine import REFERENCE
from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes
    ----------
    epochs, batch_size
        Passes over the train split, and samples a step.
    learning_rate, weight_decay
        Peak rate of the cycle, and decay, for AdamW (Loshchilov and Hutter 2019).
    exit_weights
        Weight of each exit's loss; ``None`` weighs all alike.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    exit_weights: tuple[float, ...] | None = None


def train(network: MultiExitNetwork, data: Split, recipe: Recipe, seed: int) -> pd.DataFrame:
    """Train in place; deterministic for a seed on the CPU.

    Parameters
    ----------
    network
        A freshly built network of K exits.
    data
        The train split.

    Returns
    -------
    pandas.DataFrame
        A row an epoch: ``epoch``, ``loss``, ``accuracy_1`` .. ``accuracy_K`` (on the train split,
        while training) and ``seconds``.

    Raises
    ------
    InputError
        If the weights do not fit the exits, the split is smaller than 2, or the loss diverges.
    """
    weights = _exit_weights(network, recipe)
    if len(data) < 2:
        raise InputError(f"training: {len(data)} samples; give the train split 2 at least")
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network.train().to(memory_format=torch.channels_last)
    steps = max(1, len(data) // recipe.batch_size)
    optimizer = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps * recipe.epochs
    )
    log = []
    with tqdm(total=recipe.epochs, desc="training", unit="epoch", disable=None) as bar:
        for epoch in range(1, recipe.epochs + 1):
            start = time.perf_counter()
            order = torch.randperm(len(data), generator=generator)
            chunks = order.tensor_split(steps)
            loss, accuracy = _epoch(network, data, chunks, weights, optimizer, schedule)
            if not loss < float("inf"):
                raise InputError(
                    f"training: the loss became {loss} in epoch {epoch}; lower"
                    " training.learning_rate"
                )
            shares = {f"accuracy_{k}": float(a) for k, a in enumerate(accuracy, 1)}
            seconds = time.perf_counter() - start
            log.append({"epoch": epoch, "loss": loss, **shares, "seconds": seconds})
            bar.set_postfix(loss=f"{loss:.3f}", last_exit=f"{float(accuracy[-1]):.3f}")
            bar.update()
    network.eval()
    return pd.DataFrame(log)


def _exit_weights(network: MultiExitNetwork, recipe: Recipe) -> torch.Tensor:
    exits = len(network.heads)
    weights = recipe.exit_weights or (1.0,) * exits
    if len(weights) != exits:
        raise InputError(
            f"training.exit_weights: {len(weights)} weights for {exits} exits; give one for each"
        )
    return torch.tensor(weights) / sum(weights)


def _epoch(network, data, chunks, weights, optimizer, schedule) -> tuple[float, torch.Tensor]:
    """One pass over ``chunks`` of indices: mean loss, and accuracy of each exit."""
    total = 0.0
    correct = torch.zeros(len(weights))
    for chunk in chunks:
        logits = network(REFERENCE.pictures(data.images[chunk]))
        labels = data.labels[chunk]
        losses = torch.stack(
            [functional.cross_entropy(logits[:, k], labels) for k in range(len(weights))]
        )
        loss = losses @ weights
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(chunk)
        correct += (logits.argmax(dim=2) == labels[:, None]).sum(dim=0)
    samples = sum(len(chunk) for chunk in chunks)
    return total / samples, correct / samples
