"""Results that the methods of a run return: tables with plots and readable representations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from early_exit.api.plots import drawing, summary_for_style
from early_exit.api.shown import Shown, percent, shares
from early_exit.errors import InputError
from early_exit.policy.operating_point import OperatingPoint
from early_exit.policy.policy import Policy
from early_exit.policy.units import of_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OPTIMISTIC = "optimistic: thresholds are chosen on these samples"


def costs_in_words(point: OperatingPoint, full: OperatingPoint, unit: str) -> str:
    """Costs of a policy and of the full network in words, in the known units."""
    words = [of_words(point.macs, full.macs, unit)] if np.isfinite(point.macs) else []
    if np.isfinite(point.ms):
        words.append(f"{point.ms:.3g} of {full.ms:.3g} ms predicted")
    return ", ".join(words)


class _Table(Shown):
    """A result that is shown as a title above its table."""

    table: pd.DataFrame

    def __repr__(self) -> str:
        return f"{self._title()}\n{self.table.to_string(max_rows=12)}"

    def _repr_html_(self) -> str:
        return f"<p>{self._title()}</p>{self.table.to_html(max_rows=12)}"


@dataclass(frozen=True, repr=False)
class Simulation(Shown):
    """Accuracy, cost and exit shares of a policy on a split, simulated from records.

    Attributes
    ----------
    policy
        The policy.
    split
        ``"calibration"`` or ``"test"``.
    point, full
        Operating points of the policy and of the full network: ``samples``, ``correct``,
        ``accuracy``, ``macs``, ``ms``, ``exit_shares``.
    interval
        95 % Wilson score interval of the accuracy (Wilson 1927).
    table
        A row for each exit and one overall: samples that ``reached`` it, that ``exited`` there,
        their ``accuracy``, and ``macs`` and ``ms_per_sample`` of a sample that exits there.
    cost_unit
        ``"macs"``, or ``"relative"`` if ``macs`` are costs in a unit of your own.
    """

    policy: Policy
    split: str
    point: OperatingPoint
    full: OperatingPoint
    interval: tuple[float, float]
    table: pd.DataFrame
    cost_unit: str = "macs"

    @property
    def accuracy(self) -> float:
        """Share of samples that are classified correctly."""
        return self.point.accuracy

    @property
    def macs(self) -> float:
        """Mean multiply-accumulates per sample; NaN if unknown."""
        return self.point.macs

    @property
    def ms(self) -> float:
        """Mean milliseconds per sample, predicted from stage times; NaN if unknown."""
        return self.point.ms

    @property
    def exit_shares(self) -> np.ndarray:
        """Share of samples that exit at each exit, shape (K,); the sum is 1."""
        return self.point.exit_shares

    @property
    def samples(self) -> int:
        """Number of samples, N."""
        return self.point.samples

    def _title(self) -> str:
        return f"Simulation on {self.samples} {self.split} samples"

    def _lines(self) -> dict[str, str]:
        low, high = self.interval
        lines = {
            "accuracy": f"{percent(self.accuracy)} (95 % interval {100 * low:.2f} to"
            f" {percent(high)}; full network {percent(self.full.accuracy)})",
            "cost": costs_in_words(self.point, self.full, self.cost_unit) + " per sample",
            "exit shares": shares(self.exit_shares),
        }
        return lines | ({"note": OPTIMISTIC} if self.split == "calibration" else {})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the exit shares as one stacked bar.

        Parameters
        ----------
        ax
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        with drawing(ax, (6.4, 1.8)) as ax:
            from early_exit.figures.exit_shares import bars

            name = f"{percent(self.accuracy)} accurate"
            bars(ax, pd.Series([name]), pd.DataFrame([self.exit_shares]))
            ax.grid(False)
            ax.set(xlabel=f"share of {self.split} samples that exit (%)", xlim=(0, 100))
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.4), ncols=6)
        return ax


@dataclass(frozen=True, repr=False)
class Sweep(_Table):
    """Accuracy and cost against one threshold for all exits.

    Attributes
    ----------
    table
        A row for each threshold: ``threshold`` (in the unit of the measure), ``accuracy``,
        ``macs``, ``ms_per_sample``, and ``share_1`` to ``share_K`` of samples that exit at each.
    full
        Operating point of the full network.
    split, samples
        The split, and its number of samples.
    measure, exit_rule
        The exit criterion.
    cost_unit
        ``"macs"`` or ``"relative"``.
    """

    table: pd.DataFrame
    full: OperatingPoint
    split: str
    samples: int
    measure: str
    exit_rule: str
    cost_unit: str = "macs"

    def _title(self) -> str:
        return (
            f"Sweep of {len(self.table)} thresholds on {self.samples} {self.split} samples:"
            f" exit where {self.measure} is {self.exit_rule} the threshold"
        )

    def plot(self, ax: Axes | None = None, x: str = "cost") -> Axes:
        """Draw accuracy against cost, or against the threshold.

        Parameters
        ----------
        ax
            Axes to draw on; by default those of a new figure.
        x
            ``"cost"`` (time if it is known, else MACs) or ``"threshold"``.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.

        Raises
        ------
        InputError
            If ``x`` is neither.
        """
        if x not in ("cost", "threshold"):
            raise InputError(f"x: {x!r}; it must be cost or threshold")
        with drawing(ax) as ax:
            from early_exit.figures import style

            cost = style.cost_shown(self.table, summary_for_style(self.cost_unit))
            look = {
                "color": style.RULE_COLOURS[self.exit_rule],
                "linewidth": 2.2,
                "label": style.rule_words(self.exit_rule, self.measure),
            }
            full = 100 * self.full.accuracy
            ax.set_ylabel(style.ACCURACY)
            if x == "cost":
                ax.plot(cost.factor * self.table[cost.column], 100 * self.table.accuracy, **look)
                style.mark_full_network(ax, cost.factor * self.full.row()[cost.column], full)
                ax.set_xlabel(cost.axis)
            else:
                ax.plot(self.table.threshold, 100 * self.table.accuracy, **look)
                ax.axhline(full, color="black", linewidth=1, linestyle=":", label="full network")
                ax.set_xlabel(style.threshold_unit(self.measure))
            ax.legend(loc="best")
        return ax


@dataclass(frozen=True, repr=False)
class ExitAccuracy(_Table):
    """Accuracy and cost of each exit on all samples of a split.

    Attributes
    ----------
    table
        A row for each ``exit``: ``accuracy`` with its 95 % Wilson interval (``accuracy_low``,
        ``accuracy_high``), and ``macs`` and ``ms_per_sample`` of a sample that exits there when all
        heads run.
    split, samples
        The split, and its number of samples.
    """

    table: pd.DataFrame
    split: str
    samples: int

    def _title(self) -> str:
        return f"Accuracy of each exit on all {self.samples} {self.split} samples"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw each exit's accuracy with its 95 % interval.

        Parameters
        ----------
        ax
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        with drawing(ax) as ax:
            from early_exit.figures import style
            from early_exit.figures.exit_accuracy import points

            exits, accuracy = self.table.exit.to_numpy(), self.table.accuracy.to_numpy()
            samples = np.full(len(exits), self.samples)
            points(ax, exits, accuracy, samples, style.BLUE, f"{self.split} samples")
            ax.set(xlabel="exit", ylabel=style.ACCURACY, xlim=(0.5, len(exits) + 0.7))
            if len(exits) <= style.MANY_EXITS:
                ax.set_xticks(exits)
        return ax


@dataclass(frozen=True, repr=False)
class Frontier(_Table):
    """Accuracy against cost of the policies that methods find for a range of budgets.

    Attributes
    ----------
    table
        A row for each policy: ``method``, ``target_kind``, ``target``, ``accuracy`` with its 95 %
        Wilson interval, ``macs`` and ``macs_share`` (of the full network), and the same on the
        calibration split, where the policy was chosen: ``calibration_accuracy``,
        ``calibration_macs_share``. With times alone, ``ms_per_sample`` and ``ms_share`` instead.
    split, samples
        The split that the policies were measured on, and its number of samples.
    """

    table: pd.DataFrame
    split: str
    samples: int

    def _title(self) -> str:
        return f"Frontier: chosen on calibration, measured on {self.samples} {self.split} samples"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw accuracy against the share of the full network's cost.

        Parameters
        ----------
        ax
            Axes to draw on; by default those of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        with drawing(ax, (8, 6)) as ax:
            from early_exit.figures.frontier import accuracy_against_cost

            accuracy_against_cost(ax, self.table)
            ax.set_ylabel(f"accuracy on {self.split} (%)")
            ax.legend(loc="lower right", fontsize=8)
        return ax
