"""The runner of a network under a policy: samples exit early, the others are regrouped.

Batches shrink as samples exit, and small batches take longer per sample. So the remaining samples
of a batch may be held before the next stage and batched again with those of later batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from early_exit.errors import InputError
from early_exit.inference.alone import Alone, alone
from early_exit.inference.backends.network import GraphNetwork, Measured
from early_exit.inference.decisions import Decisions
from early_exit.inference.engine import Engine
from early_exit.inference.memory import Memory
from early_exit.inference.regrouping import Queue, keep
from early_exit.inference.segments import Segment, segments
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import Output, always_run, learned_uncertainty
from early_exit.networks.shared import shared_leaves
from early_exit.policy.outcomes import Outcomes
from early_exit.policy.policy import Policy
from early_exit.records.uncertainty import measures
from early_exit.structures.tree import Structure, tensors
from early_exit.structures.tree import samples as count_of

# Indices, predictions, exits and uncertainties of samples; of one that ran alone, numbers.
Exited = tuple[torch.Tensor, ...] | tuple[int, int, int, float]


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
        self.network, self.exits = network, len(network.heads)
        # The number of heads whose logits later ones take.
        self.needed = always_run(network)
        # The last batch, to look at what the stages make of it.
        self.batch: Structure = None
        # Segments by what they depend on.
        self.made: dict[Decisions, dict[int, Segment]] = {}
        self.policy = policy
        self.queues = [Queue(regroup) for _ in network.stages] if regroup else None
        # Whether a batch of one never waits for others.
        self.holds_none = regroup is None or regroup == 1
        self.exited: list[Exited] = []
        self.kept: list[tuple[int, torch.Tensor, torch.Tensor]] | None = None
        if keep_uncertainties:
            self.kept, self.uncertainties = [], np.empty((0, policy.exits))

    @property
    def policy(self) -> Policy:
        """The policy."""
        return self._policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        if policy.exits != self.exits:
            raise InputError(f"policy: made for {policy.exits} exits, the network has {self.exits}")
        self._policy = policy
        self.learned = policy.measure == measures.CONFIDENCE
        if not self.learned:
            self.step = measures.step(policy.measure, policy.criterion.parameters, policy.exits)
        self.memory = Memory() if policy.criterion.uses_earlier else None
        self.rule = policy.rule
        # Made when the first sample on its own comes.
        self.single: Alone | None = None
        self.has_single = False
        self.decides = policy.heads_run
        self.runs = [run or k < self.needed for k, run in enumerate(policy.heads_run)]
        key = Decisions.of(policy)._replace(runs=tuple(self.runs), thresholds=())
        if key not in self.made:
            self.made[key] = segments(self.network, self.runs, key)
        self.segments = self.made[key]
        self.thresholds = [policy.rule.in_single(t) for t in policy.thresholds]

    @property
    def runs_alone(self) -> bool:
        """Whether a batch of one sample runs by itself, with nothing kept of it or for it."""
        return self.memory is None and self.kept is None and self.holds_none

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
        with self._threads():
            return self._run(batches)

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """One thread of torch where another runtime has the processor's cores.

        Torch's others wait in a loop for some milliseconds after each operator, in which that
        runtime lacks a core.
        """
        before = torch.get_num_threads()
        if before == 1 or not isinstance(self.network, GraphNetwork):
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def _run(self, batches: Iterable[Structure]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        self.exited, samples = [], 0
        # A sample on its own needs no place in a batch.
        is_alone = self.runs_alone
        if self.memory is not None:
            self.memory = Memory()
        self.kept = None if self.kept is None else []
        for queue in self.queues or ():
            # An earlier run may have been interrupted.
            queue.clear()
        for inputs in batches:
            count = count_of(inputs)
            if count == 1 and is_alone:
                self.exited.append((samples, *self._alone(inputs)))
            elif count:
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
        features, earlier = state
        while first < self.exits:
            _, k, run = self.segments[first]
            first = k + 1
            features, found = run(features, earlier)
            if k < self.needed:
                earlier = (*earlier, found.logits)
            if not self.decides[k]:
                continue
            unsure, prediction = self._seen(k, found, indices)
            if self.kept is not None:
                self.kept.append((k, indices, unsure))
            exiting, remaining = self._decide(k, unsure)
            if exiting is not None:
                own = found.logits.argmax(dim=1) if prediction is None else prediction
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

    def graph_of_one(self) -> Alone | None:
        """The one graph that runs a sample on its own, if the runtime has any."""
        if not self.has_single:
            self.single = alone(self.network, Decisions.of(self.policy))
            self.has_single = True
        return self.single

    def _alone(self, features: Structure) -> tuple[int, int, float]:
        """Run a sample by itself; returns its prediction, exit and uncertainty.

        As :meth:`_advance`, without what a batch needs, which takes as long as a small stage.
        """
        single = self.graph_of_one()
        if single is not None:
            return single(features)
        earlier, last = (), self.exits - 1
        for _, k, run in self.segments.values():
            features, found = run(features, earlier)
            if k < self.needed:
                earlier = (*earlier, found.logits)
            if not self.decides[k]:
                continue
            unsure, own = self._seen(k, found)
            # As a number: comparing tensors takes longer.
            number = unsure.item()
            if k == last or self.rule.met(number, self.thresholds[k]):
                break
        own = found.logits.argmax(dim=1) if own is None else own
        return own.item(), k, number

    def _seen(
        self, k: int, found: Output | Measured, indices: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Uncertainties of a batch at ``k`` (from 0), and predictions that are not the exit's.

        ``indices`` are what is remembered of earlier exits by, if anything is.
        """
        if isinstance(found, Measured):
            return found.uncertainty, found.prediction
        logits, scales = found.logits.float(), self.policy.temperatures
        if self.learned:
            return learned_uncertainty(logits, found.confidence), None
        logits = logits if scales is None else logits / scales[k]
        if self.memory is None:
            unsure, prediction, _ = self.step(logits, k, ())
        else:
            unsure, prediction, seen = self.step(logits, k, self.memory.read(indices))
            self.memory.write(seen, indices)
        return unsure, prediction

    def _decide(
        self, k: int, unsure: torch.Tensor
    ) -> tuple[torch.Tensor | slice | None, torch.Tensor | slice | None]:
        """Samples of the batch that exit at ``k`` (from 0), and the others; ``None`` for none."""
        every = slice(None)
        if k == self.exits - 1:
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
            indices, prediction, unsure = indices[exiting], prediction[exiting], unsure[exiting]
        self.exited.append((indices, prediction, torch.full_like(indices, k), unsure))

    def _all_kept(self, samples: int) -> np.ndarray:
        found = np.full((samples, self.exits), np.nan)
        for k, indices, unsure in self.kept or ():
            found[indices.cpu().numpy(), k] = unsure.cpu().numpy()
        return found

    def _in_order(self, samples: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if not self.exited:
            nothing = torch.empty(0, dtype=torch.int64)
            return nothing, nothing, torch.empty(0)
        columns = list(zip(*self.exited, strict=True))
        if all(isinstance(index, int) for index in columns[0]):
            # Numbers, in order.
            device = self.engine.device
            prediction, exits, unsure = (torch.tensor(own, device=device) for own in columns[1:])
            self.exited = []
            self._check_finite(exits, unsure)
            return prediction, exits, unsure
        indices, prediction, exits, unsure = map(_joined, columns)
        self.exited = []
        # The inverse of the order in which samples exited.
        order = torch.empty_like(indices)
        order[indices] = torch.arange(samples, device=indices.device)
        prediction, exits, unsure = (result[order] for result in (prediction, exits, unsure))
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


def _joined(parts: Sequence[torch.Tensor | float]) -> torch.Tensor:
    """Parts of one column, of which numbers are samples that ran on their own."""
    first = next(part for part in parts if isinstance(part, torch.Tensor))
    return torch.cat([torch.as_tensor(part, device=first.device).reshape(-1) for part in parts])


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
