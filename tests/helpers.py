"""Shared by several tests: synthetic records, costs and a small network."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn

from early_exit.inference.parts import made_up_parameters
from early_exit.networks import MultiExitNetwork
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.policy import Policy
from early_exit.records.table import Records, from_logits

PROVENANCE = {"network": "n" * 64, "data": "d" * 64, "split": "calibration"}


def make_records(samples: int = 60, exits: int = 3, classes: int = 4, seed: int = 0) -> Records:
    """Records whose later exits are more certain and more accurate."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, samples)
    label[:classes] = np.arange(classes)
    logits = rng.normal(size=(samples, exits, classes))
    for k in range(exits):
        logits[np.arange(samples), k, label] += 0.8 * (k + 1)
    return from_logits(np.arange(samples), label, logits.astype(np.float32), dict(PROVENANCE))


def make_costs(exits: int = 3) -> CostModel:
    """Stages of 10, 20, ... and heads of 1, 2, ... million MACs; a tenth of that in ms."""
    stages = 10.0 * np.arange(1, exits + 1)
    heads = 1.0 * np.arange(1, exits + 1)
    nothing = np.zeros((1, exits))
    ms = (stages[None] / 10, heads[None] / 10, nothing)
    return CostModel(stages * 1e6, heads * 1e6, np.array([8.0]), *ms, 8)


class SmallNetwork(MultiExitNetwork):
    """Stages and heads of one linear layer; images of 3x2x2."""

    def __init__(self, exits: int = 3, classes: int = 4, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 12), nn.ReLU())
        rest = [nn.Sequential(nn.Linear(12, 12), nn.ReLU()) for _ in range(exits - 1)]
        self.stages = nn.ModuleList([flat, *rest])
        self.heads = nn.ModuleList(nn.Linear(12, classes) for _ in range(exits))
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.8, generator=generator)


def random_images(samples: int, seed: int = 0) -> torch.Tensor:
    """Random images for :class:`SmallNetwork`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (samples, 3, 2, 2), dtype=torch.uint8, generator=generator)


@cache
def a_criterion(measure: str, exits: int = 3, classes: int = 4) -> ExitCriterion:
    """The criterion, with parameters fitted to made-up logits if it has any."""
    return ExitCriterion(measure, parameters=made_up_parameters(measure, exits, classes))


def policies(exits: int, measure: str = "entropy") -> st.SearchStrategy[Policy]:
    """Policies with finite thresholds, never and always, under both rules."""
    threshold = st.one_of(
        st.sampled_from([-np.inf, np.inf]), st.floats(0, 1.4), st.floats(0.5, 1.2)
    )
    return st.builds(
        lambda rule, thresholds: Policy(a_criterion(measure, exits).under(rule), tuple(thresholds)),
        st.sampled_from(ExitRule),
        st.lists(threshold, min_size=exits - 1, max_size=exits - 1),
    )
