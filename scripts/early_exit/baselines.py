"""Policies against what users would do instead: smaller networks, trained alone.

A smaller network is the stages up to an exit with that exit's head. It pays for no other head, and
all of its stages serve its one classifier; but every picture goes through all of it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from early_exit.calibration import calibrate
from early_exit.cost_model import CostModel
from early_exit.engine import Engine
from early_exit.extraction import all_exits
from early_exit.inference import EarlyExitRunner
from early_exit.networks import MultiExitNetwork
from early_exit.operating_point import policy_of, simulate
from early_exit.policy import Policy
from early_exit.records import Records
from early_exit.statistics import wilson_interval
from early_exit.targets import Target
from early_exit.timing import spread_batches, time_ways, whole_network

POLICY, SMALLER, WHOLE = "policy", "smaller network", "whole network"
# Batches, spread evenly over the test split, that each is timed on.
BATCHES = 64
ROUNDS = 5
BATCH = 128


def policies_of_budgets(
    method: str, records: Records, costs: CostModel, sees: Policy, budgets: int
) -> list[tuple[float, Policy]]:
    """Shares of the whole network's time, and the policy that the method finds for each."""
    prices = costs.prices("ms")
    least = min(1.0, 1.01 * (prices.stage[0] + prices.head[0]) / prices.whole)
    targets = [Target("ms_share", float(share)) for share in np.geomspace(least, 1.0, budgets)]
    found = calibrate(method, records, costs, targets, sees)
    return [(row.target, policy_of(row, sees)) for _, row in found.iterrows()]


def against_smaller(
    network: MultiExitNetwork,
    smaller: dict[int, MultiExitNetwork],
    policies: list[tuple[float, Policy]],
    records: Records,
    images: torch.Tensor,
    costs: CostModel,
    engine: Engine,
) -> pd.DataFrame:
    """Accuracy and measured time of policies, smaller networks and the whole one, timed in turns.

    Parameters
    ----------
    network, policies
        The multi-exit network, and the policies with the budgets that they were found for.
    smaller
        Networks of one exit, by the exit after which they were cut, from 1.
    records, images
        Of the test split, in the same order.

    Returns
    -------
    pandas.DataFrame
        ``kind`` (policy, smaller network, whole network), ``exit`` (of a smaller network),
        ``budget`` (of a policy, a share of the whole network's time), ``accuracy`` with its 95 %
        Wilson interval (``accuracy_low``, ``accuracy_high``), ``macs`` and ``ms_per_sample``.
    """
    rows, ways = [], []
    exact = replace(engine, precision="fp32")
    for budget, policy in policies:
        point = simulate(policy, records, costs)
        rows.append(_row(POLICY, None, budget, point.correct, point.samples, point.macs))
        waits = costs.regroup or None
        ways.append(EarlyExitRunner(network, policy, engine, waits).run)
    for number, own in smaller.items():
        logits = all_exits(own, images, BATCH, exact)[:, 0]
        right = int((logits.argmax(axis=1) == records.label).sum())
        macs = costs.stage_macs[:number].sum() + costs.head_macs[number - 1]
        rows.append(_row(SMALLER, number, None, right, len(records), macs))
        ways.append(whole_network(engine.ready(own)))
    whole = costs.prices("macs").whole
    rows.append(_row(WHOLE, None, None, int(records.correct[:, -1].sum()), len(records), whole))
    ways.append(whole_network(network))
    table = pd.DataFrame(rows)
    batches = spread_batches(images, costs.batch_size, BATCHES, engine)
    table["ms_per_sample"] = time_ways(ways, batches, ROUNDS, engine)
    return table


def _row(
    kind: str, number: int | None, budget: float | None, correct: int, samples: int, macs: float
) -> dict[str, object]:
    low, high = wilson_interval(correct, samples)
    return {
        "kind": kind,
        "exit": number,
        "budget": budget,
        "accuracy": correct / samples,
        "accuracy_low": low,
        "accuracy_high": high,
        "macs": float(macs),
    }
