"""Comparison of policies with smaller networks, each trained alone.

A smaller network is the stages up to an exit with that exit's head. It has no other head, and all
of its stages serve its one classifier; but every image runs through all of it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.targets import Target
from early_exit.inference.engine import Engine
from early_exit.inference.exits import all_exits
from early_exit.inference.runner import EarlyExitRunner
from early_exit.inference.timing import full_network, spread_batches, time_ways
from early_exit.networks import MultiExitNetwork
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import feasible, policy_of, simulate
from early_exit.policy.policy import Policy
from early_exit.records.table import Records
from early_exit.statistics.intervals import wilson_interval
from early_exit.structures.tree import Structure

POLICY, SMALLER, FULL = "policy", "smaller network", "full network"
# Timed batches, spread evenly over the test split.
BATCHES = 64
ROUNDS = 5
BATCH = 128


def policies_of_budgets(
    method: str, records: Records, costs: CostModel, criterion: ExitCriterion, budgets: int
) -> list[tuple[float, Policy]]:
    """Shares of the full network's time, each with the policy that the method finds for it."""
    unit_costs = costs.in_unit("ms")
    least = min(1.0, 1.01 * (unit_costs.stage[0] + unit_costs.head[0]) / unit_costs.full_network)
    targets = [Target("ms_share", float(share)) for share in np.geomspace(least, 1.0, budgets)]
    found = feasible(calibrate(method, records, costs, targets, criterion))
    return [(row.target, policy_of(row, [criterion])) for _, row in found.iterrows()]


def against_smaller(
    network: MultiExitNetwork,
    smaller: dict[int, MultiExitNetwork],
    policies: list[tuple[float, Policy]],
    records: Records,
    inputs: Structure,
    costs: CostModel,
    engine: Engine,
) -> pd.DataFrame:
    """Accuracy and measured time of policies, smaller networks and the full network.

    They are timed in turns, on the same batches.

    Parameters
    ----------
    network, policies
        The multi-exit network, and its policies with the budgets they were found for.
    smaller
        Networks of one exit, by the exit after which they were cut (from 1).
    records, inputs
        Of the test split, in the same order.

    Returns
    -------
    pandas.DataFrame
        ``kind`` (policy, smaller network, full network), ``exit`` (of a smaller network),
        ``budget`` (of a policy, a share of the full network's time), ``accuracy`` with its 95 %
        Wilson interval (``accuracy_low``, ``accuracy_high``), ``macs`` and ``ms_per_sample``.
    """
    rows, ways = [], []
    for budget, policy in policies:
        point = simulate(policy, records, costs)
        rows.append(_row(POLICY, None, budget, point.correct, point.samples, point.macs))
        ways.append(EarlyExitRunner(network, policy, engine, costs.regroup or None).run)
    for number, own in smaller.items():
        logits = all_exits(own, inputs, BATCH, engine)[:, 0]
        correct = int((logits.argmax(axis=1) == records.label).sum())
        macs = costs.stage_macs[:number].sum() + costs.head_macs[number - 1]
        rows.append(_row(SMALLER, number, None, correct, len(records), macs))
        ways.append(full_network(engine.ready(own)))
    full_macs = costs.in_unit("macs").full_network
    rows.append(_row(FULL, None, None, int(records.correct[:, -1].sum()), len(records), full_macs))
    ways.append(full_network(network))
    table = pd.DataFrame(rows)
    batches = spread_batches(inputs, costs.batch_size, BATCHES, engine)
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
