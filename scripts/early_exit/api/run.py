"""A run: records and costs of a multi-exit network, with calibration and simulation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from early_exit.analysis.best_measures import best_measures
from early_exit.analysis.frontier import on_test, policies
from early_exit.analysis.selection import certificate_of
from early_exit.api.calibrated import CalibratedPolicy
from early_exit.api.criterion import criteria_of, fitted, policy_at
from early_exit.api.limits import Limit, limit_of
from early_exit.api.recorded import Recorded
from early_exit.api.results import ExitAccuracy, Frontier, Simulation, Sweep
from early_exit.api.targets import (
    check_target,
    check_unit,
    method_named,
    target_of,
)
from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.temperature import fit
from early_exit.errors import InputError
from early_exit.policy.operating_point import (
    COLUMN,
    counts_per_exit,
    per_exit_table,
    policy_of,
    simulate,
)
from early_exit.policy.policy import Policy
from early_exit.policy.sweep import span_of, sweep, threshold_grid
from early_exit.records.uncertainty.measures import CONFIDENCE
from early_exit.statistics.intervals import wilson_interval

# Default methods of a frontier: the simplest and the best.
COMPARED = ("uniform", "coordinate")


class Run(Recorded):
    """Records of K exits on one or two splits, with the cost of each exit.

    Made by :func:`early_exit.load`, :func:`early_exit.from_logits` or
    :func:`early_exit.from_uncertainties`. No method runs the network. Thresholds come from the
    calibration split alone. In the examples, ``run`` is the run in the example of
    :func:`from_logits`.

    Attributes
    ----------
    name
        The experiment's name.
    splits
        The splits with records: ``"calibration"``, and ``"test"`` if there is one.
    exits, classes
        K and C.
    class_names
        C names, or ``None``.
    measures, measure, exit_rule, temperatures
        The exit criterion: a sample exits at the first exit where the ``measure`` of its logits,
        divided by that exit's temperature if there is one, is ``"below"`` (or ``"above"``) the
        threshold. Of several ``measures``, :meth:`calibrate` takes the one that is best on the
        calibration split; what has no choice uses the first, ``measure``.
    policy
        The policy chosen by the workflow run, or ``None``.
    summary
        The content of the workflow run's ``summary.json``, or ``None``.
    """

    def using(
        self,
        measure: str | Sequence[str] | None = None,
        exit_rule: str | None = None,
        temperatures: bool | Sequence[float] | None = None,
    ) -> Run:
        """Return the same run with another exit criterion.

        Parameters
        ----------
        measure
            ``"margin"``, ``"max_probability"``, ``"entropy"``, ``"energy"``; a criterion that
            looks at the exits before, ``"patience"``, ``"patient_margin"``, ``"ensemble"``,
            ``"gate"`` or ``"gate_later"``; ``"accuracy_matched"`` or ``"class_thresholds"``;
            ``"confidence"``, if the heads returned one; or several. Parameters are fitted on half
            of the calibration split, and thresholds found on the other. By default the run's.
        exit_rule
            ``"below"`` or ``"above"``; by default the run's.
        temperatures
            ``True`` fits one for each exit on half of the calibration split (Guo et al. 2017,
            section 4.2), ``False`` means none; or K positive numbers. By default the run's.

        Raises
        ------
        InputError
            If the measure or rule is unknown, or logits are needed and the run has none.
        """
        measures = self.measures if measure is None else measure
        exit_rule = self.exit_rule if exit_rule is None else exit_rule
        if temperatures is None:
            scales = self.temperatures
        elif isinstance(temperatures, bool | np.bool_):
            scales = tuple(fit(self._source.read_logits("calibration"))) if temperatures else None
        else:
            scales = tuple(float(t) for t in temperatures)
        criteria = fitted(criteria_of(measures, exit_rule, self.exits, scales), self._source)
        other = Run(self._source, criteria, self.policy, self.summary)
        # Fail here, not at the first use, if the records lack logits.
        for criterion in criteria:
            criterion.uncertainty(other._records("calibration"))
        return other

    def make_policy(self, thresholds: float | str | Sequence[float | str]) -> Policy:
        """Make a policy from thresholds of your own, with this run's exit criterion.

        Parameters
        ----------
        thresholds
            K-1 numbers, or one for all exits, in the unit of :attr:`measure` (nats for entropy).
            ``"never"`` switches an exit off; at ``"always"`` every sample exits.

        Raises
        ------
        InputError
            If their number is wrong, or one is neither a number nor one of the words.

        Examples
        --------
        >>> run.make_policy(["never", 0.4]).thresholds
        (-inf, 0.4)
        """
        if isinstance(thresholds, str) or np.ndim(thresholds) == 0:
            thresholds = [thresholds] * (self.exits - 1)
        return policy_at(self._criterion, thresholds, self.exits)

    def calibrate(
        self,
        method: str = "coordinate",
        *,
        accuracy: float | None = None,
        error: float | None = None,
        drop: float | None = None,
        macs: float | None = None,
        macs_share: float | None = None,
        ms: float | None = None,
        ms_share: float | None = None,
        delta: float = 0.1,
        cost: str | None = None,
    ) -> CalibratedPolicy:
        """Find thresholds on the calibration split for exactly one target.

        Of several measures the best is taken: for an accuracy or a drop the cheapest policy, for a
        budget the most accurate. A guarantee holds for this choice, too: the measures share
        ``delta``.

        Parameters
        ----------
        method
            Name of a module in ``early_exit.calibration.methods``, such as ``"coordinate"`` (best
            for most networks), ``"uniform"`` (one threshold for all exits) or ``"certified_path"``
            (with a guarantee).
        accuracy, error
            Minimum accuracy or maximum error, between 0 and 1; the cost is minimised.
        drop
            Maximum loss of accuracy against the full network, such as 0.01; the cost is minimised.
        macs, ms
            Maximum mean cost per sample; the accuracy is maximised.
        macs_share, ms_share
            The same as a share of the full network's cost.
        delta
            Probability that a method with a guarantee issues a certificate that does not hold.
        cost
            The cost that is minimised, ``"macs"`` or ``"ms"``; by default MACs if they are known.

        Returns
        -------
        CalibratedPolicy
            The policy, with its ``certificate`` if the method gives one; the full network if no
            policy reaches the accuracy.

        Raises
        ------
        InputError
            If the method is unknown, there is not exactly one target, or no policy meets the
            budget.

        Examples
        --------
        >>> policy = run.calibrate("coordinate", drop=0.01)
        >>> print(policy)
        Policy: exit where margin is below 0.2934, 0.5577
          coordinate for drop 0.01
        """
        quality = {"accuracy": accuracy, "error": error, "drop": drop}
        budget = {"macs": macs, "macs_share": macs_share, "ms": ms, "ms_share": ms_share}
        target, costs = target_of(quality | budget, delta), self._source.costs
        method_named(method)
        check_target(target, costs)
        unit = cost or costs.unit
        check_unit(costs, unit, "cost")
        records = self._records("calibration")
        own = replace(target, delta=delta / len(self.measures))
        tables = [calibrate(method, records, costs, [own], one, unit) for one in self._criteria]
        table = pd.concat(tables, ignore_index=True)
        known = best_measures(table.assign(calibration_accuracy=table.accuracy), COLUMN[unit])
        if known.empty:
            raise InputError(f"{target.kind}: {table.infeasible[0]}", "raise the budget")
        row = known.iloc[0]
        certificate = certificate_of(row)
        if certificate is not None:
            # The sum over the measures.
            certificate |= {"delta": delta}
        policy = policy_of(row, self._criteria)
        return CalibratedPolicy.of(policy, method, target, certificate)

    def limit(self, policy: CalibratedPolicy, nodes: int = 40, cost: str | None = None) -> Limit:
        """What any thresholds can reach for the target of a policy, on the calibration split.

        An upper limit by a Lagrangian decomposition and branch and bound, so that the policy's
        distance from the optimum is known to be at most the ``gap``. It is tight with few exits.

        Parameters
        ----------
        policy
            A policy of :meth:`calibrate`, by any method.
        nodes
            Most boxes of thresholds to bound, some seconds each; more make the limit tighter.
        cost
            As of :meth:`calibrate`.

        Raises
        ------
        InputError
            If the policy was not calibrated for a target, or there is one exit.

        Examples
        --------
        >>> found = run.limit(run.calibrate("coordinate", macs_share=0.6))
        >>> found.reached <= found.limit, found.gap < 0.01
        (True, True)
        """
        costs = self._source.costs
        unit = cost or costs.unit
        check_unit(costs, unit, "cost")
        return limit_of(policy, self._with(policy, "calibration"), costs, unit, nodes)

    def simulate(self, policy: Policy | None = None, split: str | None = None) -> Simulation:
        """Accuracy, cost and exit shares of a policy on a split, from the records.

        Parameters
        ----------
        policy
            The policy; by default the one chosen by the workflow run.
        split
            By default ``"test"`` if there is one, else ``"calibration"``, where results are
            optimistic.

        Raises
        ------
        InputError
            If there is no such split or no policy, or the policy has another number of exits.

        Examples
        --------
        >>> found = run.simulate(run.make_policy(0.5), "test")
        >>> round(found.accuracy, 3), found.exit_shares.round(2).tolist()
        (0.957, [0.23, 0.47, 0.3])
        """
        policy = self._policy_or_chosen(policy)
        split = self._split(split)
        records, costs = self._with(policy, split), self._source.costs
        point, full = (simulate(p, records, costs) for p in (policy, policy.full_network))
        return Simulation(
            policy,
            split,
            point,
            full,
            wilson_interval(point.correct, point.samples),
            per_exit_table(policy, *counts_per_exit(policy, records), costs),
            self.cost_unit,
        )

    def sweep(self, split: str | None = None, points: int = 100) -> Sweep:
        """Accuracy and cost of one threshold for all exits, over the measure's range.

        Parameters
        ----------
        split
            By default ``"test"`` if there is one, else ``"calibration"``.
        points
            Number of thresholds, evenly spaced.

        Raises
        ------
        InputError
            If there is no such split, or ``points`` is less than 2.

        Examples
        --------
        >>> run.sweep("test", points=5).table[["threshold", "accuracy"]].round(3)
           threshold  accuracy
        0       0.00     0.990
        1       0.25     0.987
        2       0.50     0.957
        3       0.75     0.840
        4       1.00     0.553
        """
        split = self._split(split)
        if points < 2:
            raise InputError(f"points: {points}; a sweep needs at least 2 thresholds")
        records, costs = self._records(split), self._source.costs
        span = self._source.provenance().get("span")
        if self.measure == CONFIDENCE:
            span = span_of([records], self._criterion)
        grid = threshold_grid(self.measure, self.classes, points, span)
        return Sweep(
            sweep(records, costs, self._criterion, grid).drop(columns="exit_rule"),
            simulate(self.make_policy("never"), records, costs),
            split,
            len(records),
            self.measure,
            self.exit_rule,
            self.cost_unit,
        )

    def exit_accuracy(self, split: str | None = None) -> ExitAccuracy:
        """Accuracy of each exit on all samples of a split.

        Parameters
        ----------
        split
            By default ``"test"`` if there is one, else ``"calibration"``.

        Raises
        ------
        InputError
            If there is no such split.

        Examples
        --------
        >>> run.exit_accuracy("test").table.accuracy.round(3).tolist()
        [0.553, 0.913, 0.99]
        """
        split = self._split(split)
        records = self._records(split)
        correct = records.correct.sum(axis=0)
        intervals = [wilson_interval(int(c), len(records)) for c in correct]
        low, high = zip(*intervals, strict=True)
        table = pd.DataFrame(
            {
                "exit": np.arange(1, self.exits + 1),
                "accuracy": correct / len(records),
                "accuracy_low": low,
                "accuracy_high": high,
            }
        )
        costs = self.costs.rename(columns={"ms": "ms_per_sample"})
        return ExitAccuracy(table.join(costs[["macs", "ms_per_sample"]]), split, len(records))

    def frontier(
        self,
        methods: Sequence[str] = COMPARED,
        points: int = 12,
        split: str | None = None,
        delta: float = 0.1,
    ) -> Frontier:
        """Accuracy against cost of the policies that methods find for a range of budgets.

        Policies are found on the calibration split, with each of the measures. The table also has
        the full network and the published method, under both exit rules.

        Parameters
        ----------
        methods
            Calibration methods. One with a guarantee gets four drops for targets, not budgets.
        points
            Number of budgets, from the cheapest policy to the full network.
        split
            The split that policies are measured on; by default ``"test"`` if there is one.
        delta
            As of :meth:`calibrate`.

        Raises
        ------
        InputError
            If a method is unknown, or there is no such split.
        """
        split = self._split(split)
        names = [method_named(name) for name in methods]
        costs, records = self._source.costs, self._records(split)
        calibration = self._records("calibration")
        chosen = policies(calibration, costs, self._criteria, names, points, delta)
        table = on_test(chosen, records, costs, self._criteria)
        return Frontier(table, split, len(records))

    def explore(self, path: str | os.PathLike = "explorer.html") -> Path:
        """Write the explorer: a page for the browser in which thresholds are set.

        It shows accuracy, cost and exit shares as thresholds are moved, computed in the browser
        from the calibration split, and policies calibrated for a range of budgets. The measures
        that it switches between are those of the run; see :meth:`using`. The page is one file and
        loads nothing. Large splits are subsampled, and the page says so.

        Parameters
        ----------
        path
            Page to write.

        Returns
        -------
        pathlib.Path
            The page.
        """
        from early_exit.explorer.assemble import assembled
        from early_exit.explorer.page import kept, write_page

        splits = {split: self._records(split) for split in self.splits}
        chosen = self.policy if self.policy and self.policy.criterion in self._criteria else None
        content = assembled(
            self.name,
            splits,
            self._source.costs,
            self.cost_unit,
            self._criteria,
            self.class_names,
            chosen,
        )
        records = content.splits["calibration"]
        shown = records.select(kept(content.splits, self._criteria)["calibration"])
        text, folder = self._source.policy_file(shown, self._criterion)
        write_page(path, replace(content, policy_text=text, folder=folder))
        return Path(path)

    def _policy_or_chosen(self, policy: Policy | None) -> Policy:
        policy = self.policy if policy is None else policy
        if policy is None:
            raise InputError(
                "policy: this run has no chosen policy", "give one from calibrate or make_policy"
            )
        if not isinstance(policy, Policy):
            raise InputError(
                f"policy: {type(policy).__name__} is not a policy",
                "give one from calibrate, make_policy or Policy.load",
            )
        return policy
