"""Segments of a network: what runs in one go, stages up to a head that runs, and that head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from early_exit.inference.backends.network import GraphNetwork, Measured
from early_exit.inference.decisions import Decisions
from early_exit.networks import MultiExitNetwork
from early_exit.networks.heads import Head, Output, callable_head
from early_exit.structures.tree import Structure

# Takes features and the logits of earlier exits; returns the features after the last stage, which
# nobody needs after the last exit, and what the head returns, or what is measured of it.
Run = Callable[[Structure, Sequence[torch.Tensor]], tuple[Structure, Output | Measured]]


class Segment(NamedTuple):
    """Stages from one that samples reach to one whose head runs, from 0, and that head."""

    first: int
    last: int
    run: Run


def segments(
    network: MultiExitNetwork, runs: Sequence[bool], policy: Decisions | None = None
) -> dict[int, Segment]:
    """The segments, by their first stage, where the heads ``runs`` run; the last one always does.

    Of a network that a runtime other than torch runs, a segment is one graph where it can be; it
    then measures for the policy, if there is one, in place of returning logits.
    """
    found, first = {}, 0
    for last, run in enumerate(runs):
        if run or last == len(runs) - 1:
            found[first] = Segment(first, last, _run_of(network, first, last, policy))
            first = last + 1
    return found


def _run_of(network: MultiExitNetwork, first: int, last: int, policy: Decisions | None) -> Run:
    own = network.segment(first, last, policy) if isinstance(network, GraphNetwork) else None
    if own is not None:
        return own
    # Plain lists: a lookup in a ModuleList takes as long as a small head at batch size 1.
    return _one_by_one(list(network.stages)[first : last + 1], callable_head(network.heads[last]))


def _one_by_one(stages: Sequence[nn.Module], head: Head) -> Run:
    def run(features: Structure, earlier: Sequence[torch.Tensor]) -> tuple[Structure, Output]:
        for stage in stages:
            features = stage(features)
        return features, head(features, earlier)

    return run
