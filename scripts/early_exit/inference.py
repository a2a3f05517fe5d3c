"""Running a network under a policy, samples leaving the batch as they go."""

from __future__ import annotations

import torch

from early_exit import uncertainty as measures
from early_exit.errors import InputError
from early_exit.networks import MultiExitNetwork
from early_exit.outcomes import Outcomes
from early_exit.pictures import batches, for_inference, scaled
from early_exit.policy import Policy


class EarlyExitRunner:
    """Runs a network under a policy; samples that leave are taken out of the batch.

    A head at which nobody can leave is not run, and nothing runs once the batch is empty.

    Parameters
    ----------
    network
        The network; it is put into evaluation mode.
    policy
        The policy, with as many exits as the network.

    Raises
    ------
    InputError
        If policy and network differ in the number of exits.
    """

    def __init__(self, network: MultiExitNetwork, policy: Policy) -> None:
        if policy.exits != len(network.heads):
            raise InputError(
                f"policy: made for {policy.exits} exits, the network has {len(network.heads)}"
            )
        self.network = for_inference(network)
        self.policy = policy
        self.measure = measures.measure(policy.measure)

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Prediction, exit (from 0) and uncertainty of each scaled image, shape (N,) each."""
        samples = len(images)
        prediction = torch.empty(samples, dtype=torch.int64)
        exit_taken = torch.empty(samples, dtype=torch.int64)
        uncertainty = torch.empty(samples)
        if samples == 0:
            return prediction, exit_taken, uncertainty
        waiting = torch.arange(samples)
        features = images
        for k, runs in enumerate(self.policy.heads_run):
            features = self.network.stages[k](features)
            if not runs:
                continue
            logits = self.network.heads[k](features)
            unsure = self.measure(logits)
            leaves = self._leaves(k, unsure)
            gone = waiting[leaves]
            prediction[gone] = logits[leaves].argmax(dim=1)
            exit_taken[gone] = k
            uncertainty[gone] = unsure[leaves]
            if len(gone) == len(waiting):
                break
            waiting, features = waiting[~leaves], features[~leaves]
        return prediction, exit_taken, uncertainty

    def _leaves(self, k: int, unsure: torch.Tensor) -> torch.Tensor:
        if k == self.policy.exits - 1:
            return torch.ones(len(unsure), dtype=torch.bool)
        return self.policy.rule.leaves(unsure, self.policy.thresholds[k])


def run_policy(
    network: MultiExitNetwork, policy: Policy, images: torch.Tensor, batch_size: int
) -> Outcomes:
    """Run pictures (N, channels, height, width), uint8, under a policy; results in input order."""
    runner = EarlyExitRunner(network, policy)
    parts = [runner(batch) for batch in batches(images, batch_size, "evaluation")]
    # An empty input gives empty results of the right types.
    parts = parts or [runner(scaled(images))]
    prediction, exit_taken, uncertainty = (
        torch.cat(part).numpy() for part in zip(*parts, strict=True)
    )
    return Outcomes(prediction, exit_taken, uncertainty)
