"""Time of a policy, of the full network and of the policy's ideal, on the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from early_exit.inference.alone import alone, whole
from early_exit.inference.decisions import Decisions
from early_exit.inference.engine import Engine
from early_exit.inference.runner import EarlyExitRunner
from early_exit.inference.segments import segments
from early_exit.inference.stopwatch import in_turns, milliseconds, one_turn, until_steady
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import Output, always_run
from early_exit.policy.policy import Policy
from early_exit.structures.tree import Structure, rows, samples

# Rounds in which each way is timed.
ROUNDS = 3
# A way to run a list of batches.
Way = Callable[[list[Structure]], Any]


# What is timed, in the columns of Timing.rounds.
TIMED = ("full_network", "all_heads", "policy", "ideal")


@dataclass(frozen=True)
class Timing:
    """Measured milliseconds per sample.

    Attributes
    ----------
    rounds
        Shape (R, 4), of each round and each of :data:`TIMED`.

    Notes
    -----
    ``full_network`` runs the final head only, ``all_heads`` every head. ``policy`` is the network
    under the policy, samples exiting early. ``ideal`` are the policy's stages and heads in
    full batches, weighted by the share of samples that reach them, with no overhead.
    """

    rounds: np.ndarray

    @property
    def medians(self) -> dict[str, float]:
        """Milliseconds of each of :data:`TIMED`: the median over the rounds."""
        return dict(zip(TIMED, np.median(self.rounds, axis=0).tolist(), strict=True))

    @property
    def quartiles(self) -> dict[str, list[float]]:
        """First and third quartile over the rounds of each of :data:`TIMED`, and of ``speedup``.

        The speed-up in a round is the time of the full network over that of the policy.
        """
        full, _, policy, _ = self.rounds.T
        columns = np.column_stack([self.rounds, full / policy])
        found = np.quantile(columns, [0.25, 0.75], axis=0).T.tolist()
        return dict(zip((*TIMED, "speedup"), found, strict=True))


def time_policy(
    network: MultiExitNetwork,
    policy: Policy,
    inputs: Structure,
    batch_size: int,
    most_batches: int,
    engine: Engine,
    regroup: int | None = None,
    rounds: int = ROUNDS,
) -> Timing:
    """Time a policy on the same batches as the full network, spread evenly over ``inputs``.

    Each runs two batches to warm up; then they take turns in rotating order, ``rounds`` times, or
    more often while times vary from round to round (:func:`.stopwatch.until_steady`). The median
    over the rounds leaves out slow moments of the machine; over the batches it is the mean, since a
    policy's time differs from batch to batch by nature.

    Parameters
    ----------
    inputs
        Inputs of a split.
    most_batches
        Batches to be timed.
    regroup
        As for :class:`~early_exit.inference.runner.EarlyExitRunner`.
    """
    batches = spread_batches(inputs, batch_size, most_batches, engine)
    runner = EarlyExitRunner(network, policy, engine, regroup)
    ways = [full_network(network), _every_head(runner, batch_size), runner.run]
    for way in ways:
        way(batches[:2])
    exits = runner.run(batches)[1].cpu().numpy()
    reach = np.array([(exits >= k).mean() for k in range(policy.exits)])
    runs = [partial(way, batches) for way in ways]

    def measure(turn: int) -> np.ndarray:
        taken = one_turn(runs, turn, engine)
        ideal = reach @ time_segments(runner, batches, engine)
        return np.append(taken, ideal) / len(exits)

    return Timing(until_steady(measure, rounds))


def spread_batches(inputs: Structure, size: int, most: int, engine: Engine) -> list[Structure]:
    """At most ``most`` full batches, prepared, spread evenly over a split's inputs."""
    starts = spread_starts(samples(inputs), size, most)
    return [engine.prepare(rows(inputs, slice(start, start + size))) for start in starts]


def spread_starts(length: int, size: int, most: int) -> list[int]:
    """Start indices of at most ``most`` full batches of ``size``, spread evenly, disjoint.

    At least one batch, shorter where there are fewer samples than ``size``.
    """
    count = max(1, min(most, length // size))
    return np.linspace(0, max(0, length - size), count).round().astype(int).tolist()


def time_ways(
    ways: Sequence[Way], batches: list[Structure], rounds: int, engine: Engine
) -> np.ndarray:
    """Milliseconds per sample of each way of running ``batches``, in turns, after a warm-up."""
    for way in ways:
        way(batches[:2])
    runs = [partial(way, batches) for way in ways]
    return in_turns(runs, rounds, engine) / sum(map(samples, batches))


def full_network(network: MultiExitNetwork) -> Way:
    """A way to run batches through all stages and the final head, with the heads it needs.

    Of a network that a runtime other than torch runs, all of it is one graph where it can be.
    """
    needed = always_run(network)
    own = segments(network, [k < needed for k in range(len(network.heads))]).values()
    # Samples on their own as those of a policy run.
    single = whole(network)

    @torch.inference_mode()
    def run(batches: list[Structure]) -> None:
        for features in batches:
            if single is not None and samples(features) == 1:
                single(features)[0].argmax(dim=1)
                continue
            earlier: list[torch.Tensor] = []
            for segment in own:
                features, found = segment.run(features, earlier)
                earlier.append(found.logits)
            found.logits.argmax(dim=1)

    return run


def _every_head(runner: EarlyExitRunner, batch_size: int) -> Way:
    """A way to run batches through all stages and every head, in as few graphs as the policy."""
    network, exits = runner.network, runner.exits
    if batch_size == 1 and runner.runs_alone:
        decisions = Decisions.of(runner.policy)
        thresholds = (decisions.never,) * (exits - 1)
        single = alone(network, decisions._replace(runs=(True,) * exits, thresholds=thresholds))
        if single is not None:
            return torch.inference_mode()(partial(_each, single))
    own = segments(network, (True,) * exits).values()

    @torch.inference_mode()
    def all_heads(batches: list[Structure]) -> None:
        for features in batches:
            earlier: list[torch.Tensor] = []
            for segment in own:
                features, found = segment.run(features, earlier)
                earlier.append(found.logits)

    return all_heads


@torch.inference_mode()
def time_segments(
    runner: EarlyExitRunner, batches: Sequence[Structure], engine: Engine
) -> np.ndarray:
    """Milliseconds of what a policy runs before each exit, on full batches in all, shape (K,).

    They are 0 at an exit whose head does not run: its stage counts at the next that runs. Where
    samples on their own are run by one graph, they are what each exit adds to that.
    """
    found = np.zeros(runner.exits)
    if runner.runs_alone and all(samples(batch) == 1 for batch in batches):
        single = runner.graph_of_one()
        if single is not None:
            ends = single.passes()
            # One pass after the other, as in a run: a longer one in between empties the caches.
            taken = [milliseconds(_each, run, batches, engine=engine) for run in ends.values()]
            found[list(ends)] = np.diff(taken, prepend=0.0)
            return found
    for batch in batches:
        features, earlier = batch, []
        for segment in runner.segments.values():
            run = partial(segment.run, features, earlier)
            found[segment.last] += milliseconds(run, engine=engine)
            features, own = run()
            if isinstance(own, Output):
                earlier.append(own.logits)
    return found


def _each(run: Callable[[Structure], Any], batches: Sequence[Structure]) -> None:
    for batch in batches:
        run(batch)
