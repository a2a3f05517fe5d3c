"""Stages, heads and decisions of a network, with what each is timed on."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from early_exit.inference.backends.network import GraphNetwork, GraphSegment, Measured
from early_exit.inference.decisions import MEASURES, Decisions
from early_exit.inference.regrouping import keep
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import Output, always_run, callable_head, learned_uncertainty
from early_exit.networks.shared import shared_leaves
from early_exit.records.uncertainty import measures
from early_exit.structures.tree import Structure


class Part(NamedTuple):
    """A stage, head or exit overhead, with what it is timed on.

    A head may be timed with its stage, where both are one graph: ``includes_stage``.
    """

    part: str
    exit: int
    run: Callable[..., object]
    given: tuple[Any, ...]
    includes_stage: bool = False


@torch.inference_mode()
def parts_of(
    network: MultiExitNetwork, batch: Structure, functions: Sequence[TimedMeasure]
) -> list[Part]:
    """Each stage and head, and each exit's overhead by each measure, on a batch.

    Where a policy runs a stage and its head as one graph that measures, the head is timed in it.
    """
    parts = []
    exits = len(network.stages)
    features, earlier, needed = batch, (), always_run(network)
    for k, (stage, head) in enumerate(zip(network.stages, network.heads, strict=True)):
        parts.append(Part("stage", k + 1, stage, (features,)))
        whole, before = _measuring(network, k, functions), features
        features = stage(features)
        plain = isinstance(features, torch.Tensor)
        shared = () if plain else shared_leaves(network, batch)[k]
        if whole is not None:
            parts.append(Part("head", k + 1, whole, (before,), includes_stage=True))
            found = whole(before)[1]
            threshold = found.uncertainty.median()
            decide = _overhead(features, shared, None, threshold, last=k + 1 == exits)
            parts.append(Part("overhead", k + 1, decide, (found,)))
            continue
        head = callable_head(head)
        parts.append(Part("head", k + 1, head, (features, earlier)))
        found = head(features, earlier)
        earlier = (*earlier, found.logits) if k < needed else ()
        for measure in functions:
            threshold = measure(found, k).median()
            own = partial(measure, exit=k)
            decide = _overhead(features, shared, own, threshold, last=k + 1 == exits)
            parts.append(Part("overhead", k + 1, decide, (found,)))
    return parts


def _measuring(
    network: MultiExitNetwork, k: int, functions: Sequence[TimedMeasure]
) -> GraphSegment | None:
    """The graph of a stage (from 0) and its head that measures, if a policy has such graphs.

    By the first of the measures, which take about the same time in a graph.
    """
    if not isinstance(network, GraphNetwork) or any(own.name not in MEASURES for own in functions):
        return None
    policy = Decisions(functions[0].name, True, None, (), ())
    found = network.segment(k, k, policy)
    return found if found is not None and found.measures else None


def _overhead(
    features: Structure,
    shared: Collection[int],
    measure: Callable | None,
    threshold: torch.Tensor,
    last: bool,
) -> Callable:
    """The work of :class:`~early_exit.inference.runner.EarlyExitRunner` after a head."""

    def decide(found: Output | Measured) -> None:
        if isinstance(found, Measured):
            prediction, unsure = found
        else:
            unsure = measure(found)
            prediction = found.logits.float().argmax(dim=1)
        if last:
            return
        met = unsure < threshold
        count = int(met.sum())
        if count == 0:
            # In a batch of one no sample exits: no uncertainty is below its own median.
            return
        exiting, remaining = met.nonzero().flatten(), (~met).nonzero().flatten()
        prediction[exiting], unsure[exiting]
        keep(features, remaining, shared)

    return decide


class TimedMeasure:
    """The uncertainty by a measure, as a function of a head's output and the exit (from 0).

    Parameters are fitted to made-up logits: they are not known yet, and take the same time.
    """

    def __init__(self, name: str, exits: int) -> None:
        self.name, self.exits = name, exits
        self.step: measures.Step | None = None
        self.memories: list[tuple[torch.Tensor, ...]] = []

    def __call__(self, found: Output, exit: int) -> torch.Tensor:
        logits = found.logits.float()
        if self.name == measures.CONFIDENCE:
            return learned_uncertainty(logits, found.confidence)
        if self.step is None:
            self._prepare(logits[:1])
        memory = [kept.expand(len(logits), *kept.shape[1:]) for kept in self.memories[exit]]
        return self.step(logits, exit, tuple(memory))[0]

    def _prepare(self, logits: torch.Tensor) -> None:
        """Fit, and note what a sample with these logits at every exit would remember."""
        parameters = made_up_parameters(self.name, self.exits, logits.shape[1])
        self.step = measures.step(self.name, parameters, self.exits)
        self.memories = [()]
        for exit in range(self.exits):
            self.memories.append(self.step(logits, exit, self.memories[-1])[2])


def made_up_parameters(name: str, exits: int, classes: int) -> str | None:
    """Parameters of a criterion, of random logits; ``None`` if it has none."""
    if not measures.is_fitted(name):
        return None
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(32, exits, classes)), rng.integers(0, classes, 32)
    return json.dumps(measures.module(name).fit(logits, labels))
