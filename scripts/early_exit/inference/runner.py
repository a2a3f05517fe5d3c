"""The runner of a network under a policy: samples exit early, the others are regrouped.

Batches shrink as samples exit, and small batches take longer per sample. So the remaining samples
of a batch may be held before the next stage and batched again with those of later batches.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from early_exit.errors import InputError
from early_exit.inference.engine import Engine
from early_exit.inference.memory import Memory
from early_exit.inference.regrouping import Queue, keep
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import always_run, callable_head, learned_uncertainty
from early_exit.networks.shared import shared_leaves
from early_exit.policy.criterion import ExitRule
from early_exit.policy.outcomes import Outcomes
from early_exit.policy.policy import Policy
from early_exit.records.uncertainty import measures
from early_exit.structures.tree import Structure, tensors
from early_exit.structures.tree import samples as count_of


class EarlyExitRunner:
    """Runs a network under a policy; later stages are not computed for samples that exited.

    A head at which no sample can exit is not run, unless a later head takes its logits, and a stage
    that no sample reaches neither.

    Parameters
    ----------
    network
        The network; set to evaluation mode and moved to the engine's device.
    policy
        The policy, with as many exits as the network.
    engine
        Device, precision and memory format.
    regroup
        Size of the batches that remaining samples are regrouped into; with ``None`` each batch
        shrinks on its own.
    keep_uncertainties
        Whether to keep what each exit that a sample reached computed, in ``uncertainties``.

    Attributes
    ----------
    policy
        The policy; another one with as many exits may be set between runs.
    uncertainties
        Of the last run, shape (N, K): NaN at exits that a sample did not reach and at exits that
        are off. As :meth:`early_exit.calibration.shares.QuantileTracker.update` takes them.

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
        keep_uncertainties: bool = False,
    ) -> None:
        network = engine.ready(network)
        self.engine = engine
        # Plain lists: a lookup in a ModuleList takes as long as a small head at batch size 1.
        self.stages = list(network.stages)
        self.heads = [callable_head(head) for head in network.heads]
        self.network = network
        # The number of heads whose logits later ones take.
        self.needed = always_run(network)
        # The last batch, to look at what the stages make of it.
        self.batch: Structure = None
        self.policy = policy
        self.queues = [Queue(regroup) for _ in self.stages] if regroup else None
        self.exited: list[tuple[torch.Tensor, ...]] = []
        self.kept: list[tuple[int, torch.Tensor, torch.Tensor]] | None = None
        if keep_uncertainties:
            self.kept, self.uncertainties = [], np.empty((0, policy.exits))

    @property
    def policy(self) -> Policy:
        """The policy."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        if policy.exits != len(self.heads):
            raise InputError(
                f"policy: made for {policy.exits} exits, the network has {len(self.heads)}"
            )
        self._policy = policy
        self.learned = policy.measure == measures.CONFIDENCE
        if not self.learned:
            self.step = measures.step(policy.measure, policy.criterion.parameters, policy.exits)
        self.memory = Memory() if policy.criterion.uses_earlier else None
        self.rule = policy.rule
        self.decides = policy.heads_run
        self.runs = [run or k < self.needed for k, run in enumerate(policy.heads_run)]
        self.thresholds = [in_single(policy.rule, t) for t in policy.thresholds]

    def __call__(self, inputs: Structure) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Prediction, exit (from 0) and uncertainty of each prepared sample, shape (N,) each."""
        return self.run([inputs])

    @torch.inference_mode()
    def run(self, batches: Iterable[Structure]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Predictions, exits (from 0) and uncertainties of all samples of the batches, in order.

        A batch is an input of the network: :meth:`early_exit.inference.engine.Engine.prepare`.

        Raises
        ------
        InputError
            If the logits or the confidence with which a sample exits are NaN or infinite.
        """
        self.exited, samples = [], 0
        if self.memory is not None:
            self.memory = Memory()
        self.kept = None if self.kept is None else []
        for queue in self.queues or ():
            # An earlier run may have been interrupted.
            queue.clear()
        for inputs in batches:
            count = count_of(inputs)
            if count:
                self.batch = inputs
                device = tensors(inputs)[0].device
                indices = torch.arange(samples, samples + count, device=device)
                self._advance(0, (inputs, ()), indices)
            samples += count
        for k, queue in enumerate(self.queues or ()):
            while len(queue):
                self._advance(k, *queue.take())
        if self.kept is not None:
            self.uncertainties = self._all_kept(samples)
        return self._in_order(samples)

    def _shared(self, k: int, features: Structure) -> frozenset[int]:
        """Positions of the tensors without a batch in what stage ``k`` (from 0) hands on."""
        if isinstance(features, torch.Tensor):
            return frozenset()
        return shared_leaves(self.network, self.batch)[k]

    def _advance(
        self, first: int, state: tuple[Structure, tuple[torch.Tensor, ...]], indices: torch.Tensor
    ) -> None:
        """Run a batch from the stage ``first`` on, until all samples exited or are held.

        ``state`` are the features and, for a cascade, the logits of earlier exits.
        """
        scales = self.policy.temperatures
        features, earlier = state
        for k in range(first, len(self.stages)):
            features = self.stages[k](features)
            if not self.runs[k]:
                continue
            found = self.heads[k](features, earlier)
            if k < self.needed:
                earlier = (*earlier, found.logits)
            if not self.decides[k]:
                continue
            logits = found.logits.float()
            scaled = logits if scales is None else logits / scales[k]
            unsure, prediction = self._seen(k, scaled, found.confidence, indices)
            if self.kept is not None:
                self.kept.append((k, indices, unsure))
            exiting, remaining = self._decide(k, unsure)
            if exiting is not None:
                own = logits.argmax(dim=1) if prediction is None else prediction
                self._record_exits(k, own, unsure, indices, exiting)
            if remaining is None:
                return
            if exiting is None:
                continue
            indices = indices[remaining]
            if self.queues is None or len(indices) >= self.queues[k + 1].size:
                features = keep(features, remaining, self._shared(k, features))
                earlier = tuple(keep(own, remaining) for own in earlier)
                continue
            queue = self.queues[k + 1]
            queue.shared = self._shared(k, features)
            queue.add((features, earlier), remaining, indices)
            if not queue.full:
                return
            (features, earlier), indices = queue.take()

    def _seen(
        self,
        k: int,
        logits: torch.Tensor,
        confidence: torch.Tensor | None,
        indices: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Uncertainties of a batch at ``k`` (from 0), and predictions that are not the exit's."""
        if self.learned:
            return learned_uncertainty(logits, confidence), None
        if self.memory is None:
            unsure, prediction, _ = self.step(logits, k, ())
        else:
            unsure, prediction, found = self.step(logits, k, self.memory.read(indices))
            self.memory.write(found, indices)
        return unsure, prediction

    def _decide(
        self, k: int, unsure: torch.Tensor
    ) -> tuple[torch.Tensor | slice | None, torch.Tensor | slice | None]:
        """Samples of the batch that exit at ``k`` (from 0), and the others; ``None`` for none."""
        every = slice(None)
        if k == len(self.stages) - 1:
            return every, None
        met = self.rule.met(unsure, self.thresholds[k])
        if len(unsure) == 1:
            # Half of a decision's time: for a single sample there is nothing to divide.
            return (every, None) if met.item() else (None, every)
        # The only synchronisation with the device: shrinking the batch needs it.
        exiting = met.nonzero().flatten()
        if len(exiting) == 0:
            return None, every
        if len(exiting) == len(unsure):
            return every, None
        return exiting, met.logical_not_().nonzero().flatten()

    def _record_exits(
        self,
        k: int,
        prediction: torch.Tensor,
        unsure: torch.Tensor,
        indices: torch.Tensor,
        exiting: torch.Tensor | slice,
    ) -> None:
        if isinstance(exiting, torch.Tensor):
            indices, prediction, unsure = (own[exiting] for own in (indices, prediction, unsure))
        self.exited.append((indices, prediction, torch.full_like(indices, k), unsure))

    def _all_kept(self, samples: int) -> np.ndarray:
        found = np.full((samples, len(self.heads)), np.nan)
        for k, indices, unsure in self.kept or ():
            found[indices.cpu().numpy(), k] = unsure.cpu().numpy()
        return found

    def _in_order(self, samples: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if not self.exited:
            nothing = torch.empty(0, dtype=torch.int64)
            return nothing, nothing, torch.empty(0)
        indices, *results = (torch.cat(parts) for parts in zip(*self.exited, strict=True))
        self.exited = []
        # The inverse of the order in which samples exited.
        order = torch.empty_like(indices)
        order[indices] = torch.arange(samples, device=indices.device)
        prediction, exits, unsure = (result[order] for result in results)
        self._check_finite(exits, unsure)
        return prediction, exits, unsure

    def _check_finite(self, exits: torch.Tensor, unsure: torch.Tensor) -> None:
        bad = unsure.isfinite().logical_not_()
        if bad.any():
            first = int(bad.nonzero()[0])
            precision = self.engine.precision
            remedy = (
                "the weights are broken or the training diverged: use another checkpoint"
                if precision == "fp32"
                else "set inference.precision to fp32"
            )
            what = "confidences" if self.learned else "logits"
            raise InputError(
                f"network: the {what} of {int(bad.sum())} samples are NaN or infinite in"
                f" {precision}, the first at index {first}, at exit {int(exits[first]) + 1}",
                remedy,
            )


def in_single(rule: ExitRule, threshold: float) -> float:
    """The single-precision threshold at which the same single-precision uncertainties exit.

    Rounding to the nearest would not do: 0.7 becomes less than 0.7, and an uncertainty between the
    two would not exit.
    """
    with np.errstate(over="ignore"):
        single = np.float32(threshold)
    if rule.sign * float(single) < rule.sign * threshold:
        single = np.nextafter(single, np.float32(rule.always))
    return float(single)


def run_policy(
    network: MultiExitNetwork,
    policy: Policy,
    inputs: Structure,
    batch_size: int,
    engine: Engine,
    regroup: int | None = None,
) -> Outcomes:
    """Outcomes of a split's inputs under a policy, in input order."""
    runner = EarlyExitRunner(network, policy, engine, regroup)
    results = runner.run(engine.batches(inputs, batch_size, "evaluation"))
    return Outcomes(*(result.cpu().numpy() for result in results))
