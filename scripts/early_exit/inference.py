"""Running a network under a policy, samples leaving the batch as they go."""

from __future__ import annotations

import torch

from early_exit import uncertainty as measures
from early_exit.engine import Engine
from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.outcomes import Outcomes
from early_exit.policy import Policy


class EarlyExitRunner:
    """Runs a network under a policy; samples that leave are taken out of the batch.

    A head at which nobody can leave is not run, and nothing runs once the batch is empty.

    Parameters
    ----------
    network
        The network; it is put into evaluation mode and moved to the engine's device.
    policy
        The policy, with as many exits as the network.
    engine
        Device, precision and memory format.

    Raises
    ------
    InputError
        If policy and network differ in the number of exits.
    """

    def __init__(self, network: MultiExitNetwork, policy: Policy, engine: Engine) -> None:
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

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Prediction, exit (from 0) and uncertainty of each scaled image, shape (N,) each."""
        gone: list[tuple[torch.Tensor, ...]] = []
        scales = self.policy.temperatures
        waiting = torch.arange(len(images), device=images.device)
        features = images
        for k, runs in enumerate(self.policy.heads_run):
            if len(waiting) == 0:
                break
            features = self.stages[k](features)
            if not runs:
                continue
            logits = self.heads[k](features).float()
            unsure = self.measure(logits if scales is None else logits / scales[k])
            prediction = logits.argmax(dim=1)
            leaving, staying = self.decide(k, unsure)
            if staying is None:
                gone.append((waiting, prediction, torch.full_like(waiting, k), unsure))
                break
            if leaving is None:
                continue
            left = waiting[leaving]
            exits = torch.full_like(left, k)
            gone.append((left, prediction[leaving], exits, unsure[leaving]))
            waiting, features = waiting[staying], keep(features, staying)
        return self._in_order(gone, len(images))

    def decide(self, k: int, unsure: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Places of those that leave exit ``k`` (from 0) and of those that stay.

        ``None`` for the former if nobody leaves, for the latter if everybody does, so that the
        usual ends need no copy.
        """
        if k == self.policy.exits - 1:
            return unsure, None
        leaves = self.policy.rule.leaves(unsure, self.policy.thresholds[k])
        # The one place where the host waits for the device: the batch cannot shrink otherwise.
        count = int(leaves.sum())
        if count == len(unsure):
            return leaves, None
        if count == 0:
            return None, leaves
        return leaves.nonzero().flatten(), (~leaves).nonzero().flatten()

    def _in_order(
        self, gone: list[tuple[torch.Tensor, ...]], samples: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if not gone:
            nothing = torch.empty(0, dtype=torch.int64)
            return nothing, nothing, torch.empty(0)
        if len(gone) == 1:
            return gone[0][1], gone[0][2], gone[0][3]
        places, *results = (torch.cat(parts) for parts in zip(*gone, strict=True))
        # The inverse of the order in which they left.
        order = torch.empty_like(places)
        order[places] = torch.arange(samples, device=places.device)
        prediction, exits, unsure = (result[order] for result in results)
        return prediction, exits, unsure


def keep(features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The samples at ``places``, in the memory format that the features have.

    Indexing a channels-last tensor directly walks it in the other order, six times as slowly.
    """
    if features.dim() == 4 and features.is_contiguous(memory_format=torch.channels_last):
        return features.permute(0, 2, 3, 1).index_select(0, places).permute(0, 3, 1, 2)
    return features.index_select(0, places)


def run_policy(
    network: MultiExitNetwork,
    policy: Policy,
    images: torch.Tensor,
    batch_size: int,
    engine: Engine,
) -> Outcomes:
    """Run pictures (N, channels, height, width), uint8, under a policy; results in input order."""
    runner = EarlyExitRunner(network, policy, engine)
    parts = [runner(batch) for batch in engine.batches(images, batch_size, "evaluation")]
    # An empty input gives empty results of the right types.
    parts = parts or [runner(engine.pictures(images))]
    prediction, exit_taken, uncertainty = (
        torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True)
    )
    return Outcomes(prediction, exit_taken, uncertainty)
