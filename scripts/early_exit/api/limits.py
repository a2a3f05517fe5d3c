"""How far a calibrated policy is from the best thresholds for its target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from early_exit.api.calibrated import CalibratedPolicy
from early_exit.api.shown import Shown, percent
from early_exit.calibration.bound import Bound, bound
from early_exit.calibration.targets import label
from early_exit.errors import InputError
from early_exit.policy.costs import CostModel
from early_exit.policy.policy import Policy
from early_exit.policy.samples import Samples
from early_exit.records.table import Records


@dataclass(frozen=True, repr=False)
class Limit(Shown):
    """What any thresholds can reach for a policy's target on the calibration split.

    For a budget these are accuracies, for an accuracy or a drop shares of the full network's cost.

    Attributes
    ----------
    policy
        The policy.
    reached
        What the policy reaches; NaN if it misses the target, as the full network may an accuracy.
    limit
        What no thresholds exceed (of a cost: fall below).
    oracle
        The same if each sample had thresholds of its own.
    nodes
        Number of boxes of thresholds that were bounded.
    """

    policy: CalibratedPolicy
    reached: float
    limit: float
    oracle: float
    nodes: int

    @property
    def gap(self) -> float:
        """How far the policy is from the optimum at most."""
        return abs(self.limit - self.reached)

    def _title(self) -> str:
        kind, value = self.policy.target.kind, self.policy.target.value
        return f"Limit of any thresholds for {label(kind, value)}"

    def _lines(self) -> dict[str, str]:
        what = "cost" if self.policy.target.is_quality else "accuracy"
        return {
            f"{what} of the policy": percent(self.reached),
            "limit": f"{percent(self.limit)} (after {self.nodes} boxes)",
            "gap": f"{100 * self.gap:.2f} points at most",
            "oracle": f"{percent(self.oracle)}, if each sample had its own thresholds",
        }


def limit_of(policy: Policy, records: Records, costs: CostModel, unit: str, nodes: int) -> Limit:
    """The limit for a policy that was calibrated on ``records``.

    Raises
    ------
    InputError
        If the policy was not calibrated for a target, or there is one exit.
    """
    if not isinstance(policy, CalibratedPolicy) or policy.target is None:
        raise InputError("policy: it has no target that a limit could be for", "use calibrate")
    if policy.exits == 1:
        raise InputError("policy: a network with one exit has no thresholds")
    samples = Samples.of(records, policy.criterion)
    if samples.all_heads:
        costs = costs.with_all_heads()
    if samples.fitted:
        samples = samples.halves()[1]
    thresholds = policy.rule.sign * np.array(policy.thresholds)
    in_unit = costs.in_unit(policy.target.unit(unit))
    found: Bound = bound(samples, in_unit, policy.target, thresholds, nodes)
    return Limit(policy, found.reached, found.limit, found.oracle, found.nodes)
