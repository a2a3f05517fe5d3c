"""Running a network under a policy, samples leaving as they go, those that stay regrouped.

A batch from which samples leave gets smaller, and a small batch is dearer a sample. So where few
are left they may wait before the next stage for those that come behind them.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from early_exit import uncertainty as measures
from early_exit.engine import Engine
from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.outcomes import Outcomes
from early_exit.policy import Policy
from early_exit.waiting import Queue, keep


class EarlyExitRunner:
    """Runs a network under a policy; a sample that leaves is not computed any further.

    A head at which nobody can leave is not run, and a stage that nobody reaches neither.

    Parameters
    ----------
    network
        The network; it is put into evaluation mode and moved to the engine's device.
    policy
        The policy, with as many exits as the network.
    engine
        Device, precision and memory format.
    regroup
        What is left of a batch waits before the next stage until so many samples do; ``None`` lets
        each batch thin out by itself.

    Raises
    ------
    InputError
        If policy and network differ in the number of exits.
    """

    def __init__(
        self,
        network: MultiExitNetwork,
        policy: Policy,
        engine: Engine,
        regroup: int | None = None,
    ) -> None:
        if policy.exits != len(network.heads):
            raise InputError(
                f"policy: made for {policy.exits} exits, the network has {len(network.heads)}"
            )
        network = engine.ready(network)
        self.policy = policy
        self.engine = engine
        self.measure = measures.measure(policy.measure)
        # Plain lists: looking a module up in a ModuleList costs as much as a small head at batch 1.
        self.stages = list(network.stages)
        self.heads = list(network.heads)
        self.runs = policy.heads_run
        self.queues = [Queue(regroup) for _ in self.stages] if regroup else None
        self.gone: list[tuple[torch.Tensor, ...]] = []

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Prediction, exit (from 0) and uncertainty of each scaled image, shape (N,) each."""
        return self.run([images])

    @torch.inference_mode()
    def run(
        self, batches: Iterable[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As a call, for many batches; the results are those of all of them, in order."""
        self.gone, samples = [], 0
        for queue in self.queues or ():
            # What a run that broke off has left.
            queue.waiting = 0
        for images in batches:
            if len(images):
                places = torch.arange(samples, samples + len(images), device=images.device)
                self._advance(0, images, places)
            samples += len(images)
        for k, queue in enumerate(self.queues or ()):
            while len(queue):
                self._advance(k, *queue.take())
        return self._in_order(samples)

    def _advance(self, first: int, features: torch.Tensor, places: torch.Tensor) -> None:
        """Run a batch from the stage ``first`` on, until all have left or wait for others."""
        scales = self.policy.temperatures
        for k in range(first, len(self.stages)):
            features = self.stages[k](features)
            if not self.runs[k]:
                continue
            logits = self.heads[k](features).float()
            unsure = self.measure(logits if scales is None else logits / scales[k])
            leaving, staying = self._decide(k, unsure)
            if leaving is not None:
                self._let_go(k, logits, unsure, places, leaving)
            if staying is None:
                return
            if leaving is None:
                continue
            places = places[staying]
            if self.queues is None or len(places) >= self.queues[k + 1].size:
                features = keep(features, staying)
                continue
            queue = self.queues[k + 1]
            queue.add(features, staying, places)
            if not queue.full:
                return
            features, places = queue.take()

    def _decide(
        self, k: int, unsure: torch.Tensor
    ) -> tuple[torch.Tensor | slice | None, torch.Tensor | slice | None]:
        """Who of the batch leaves exit ``k`` (from 0), and who stays: ``None`` for nobody."""
        everybody = slice(None)
        if k == len(self.stages) - 1:
            return everybody, None
        leaves = self.policy.rule.leaves(unsure, self.policy.thresholds[k])
        # The one place where the host waits for the device: the batch cannot shrink otherwise.
        leaving = leaves.nonzero().flatten()
        if len(leaving) == 0:
            return None, everybody
        if len(leaving) == len(unsure):
            return everybody, None
        return leaving, leaves.logical_not_().nonzero().flatten()

    def _let_go(
        self,
        k: int,
        logits: torch.Tensor,
        unsure: torch.Tensor,
        places: torch.Tensor,
        leaving: torch.Tensor | slice,
    ) -> None:
        left = places[leaving]
        prediction = logits[leaving].argmax(dim=1)
        self.gone.append((left, prediction, torch.full_like(left, k), unsure[leaving]))

    def _in_order(self, samples: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if not self.gone:
            nothing = torch.empty(0, dtype=torch.int64)
            return nothing, nothing, torch.empty(0)
        places, *results = (torch.cat(parts) for parts in zip(*self.gone, strict=True))
        self.gone = []
        # The inverse of the order in which they left.
        order = torch.empty_like(places)
        order[places] = torch.arange(samples, device=places.device)
        prediction, exits, unsure = (result[order] for result in results)
        return prediction, exits, unsure


def run_policy(
    network: MultiExitNetwork,
    policy: Policy,
    images: torch.Tensor,
    batch_size: int,
    engine: Engine,
    regroup: int | None = None,
) -> Outcomes:
    """Run pictures (N, channels, height, width), uint8, under a policy; results in input order."""
    runner = EarlyExitRunner(network, policy, engine, regroup)
    results = runner.run(engine.batches(images, batch_size, "evaluation"))
    return Outcomes(*(result.cpu().numpy() for result in results))
