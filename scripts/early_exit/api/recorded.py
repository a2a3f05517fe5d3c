"""Base class of runs: records, costs, exit criterion and text representation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from early_exit.api.shown import Shown, any_of, shares
from early_exit.api.source import Source
from early_exit.api.targets import choice
from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.policy.units import cost_words
from early_exit.records.table import Records, is_external

# Largest number of class names that are shown.
NAMED = 10


class Recorded(Shown):
    """The part of :class:`early_exit.api.run.Run` that reads and shows."""

    def __init__(
        self,
        source: Source,
        criteria: Sequence[ExitCriterion],
        policy: Policy | None = None,
        summary: dict[str, Any] | None = None,
    ) -> None:
        provenance = source.provenance()
        self._source, self._criteria = source, tuple(criteria)
        self._tables: dict[str, Records] = {}
        self.name, self.splits = source.name, source.splits
        self.exits, self.classes = provenance["exits"], provenance["classes"]
        self.class_names, self.cost_unit = source.class_names, source.cost_unit
        self.policy, self.summary = policy, summary
        if source.costs.exits != self.exits:
            raise InputError(
                f"costs: for {source.costs.exits} exits, but the records have {self.exits}",
                "give a number for each exit",
            )

    @property
    def measure(self) -> str:
        """Name of the uncertainty measure, the first if there are several."""
        return self._criterion.measure

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of all uncertainty measures that :meth:`Run.calibrate` chooses from."""
        return tuple(criterion.measure for criterion in self._criteria)

    @property
    def exit_rule(self) -> str:
        """``"below"`` or ``"above"``."""
        return self._criterion.rule.value

    @property
    def temperatures(self) -> tuple[float, ...] | None:
        """Divisors of the logits, one for each exit, or ``None``."""
        return self._criterion.temperatures

    @property
    def costs(self) -> pd.DataFrame:
        """Cost of a sample that exits at each exit, with all heads run; a row for each ``exit``.

        ``macs`` are multiply-accumulates, ``ms`` milliseconds in full batches; ``head_macs`` and
        ``head_ms`` are the part of the exit's own head. NaN in a unit that is unknown.
        """
        table = pd.DataFrame({"exit": np.arange(1, self.exits + 1)})
        for unit in ("macs", "ms"):
            known = self._source.costs.knows(unit)
            costs = self._source.costs.in_unit(unit) if known else None
            table[unit] = costs.per_exit(np.zeros(self.exits - 1)) if costs else np.nan
            table[f"head_{unit}"] = costs.head if costs else np.nan
        return table

    def records(self, split: str = "calibration") -> pd.DataFrame:
        """Outputs of each exit for each sample of a split.

        Returns
        -------
        pandas.DataFrame
            N rows: ``index`` of the sample in its data set, ``label``, and for each exit k the
            uncertainty by each of the run's measures (``margin_k``, ``entropy_k`` ...),
            ``prediction_k`` and ``correct_k``. Records of external uncertainties have no labels and
            predictions.

        Raises
        ------
        InputError
            If there is no such split.
        """
        records = self._records(split)
        external = self._external
        by = {own.measure: own.uncertainty(records) for own in self._criteria}
        if external:
            by = {"uncertainty": by[self.measure]}
        columns: dict[str, Any] = {"index": records.index}
        columns |= {} if external else {"label": records.label}
        for k in range(self.exits):
            columns |= {f"{name}_{k + 1}": own[:, k] for name, own in by.items()}
            if not external:
                columns[f"prediction_{k + 1}"] = records.prediction[:, k]
            columns[f"correct_{k + 1}"] = records.correct[:, k]
        return pd.DataFrame(columns)

    def _records(self, split: str) -> Records:
        """The records of a split, read once."""
        self._check_split(split)
        if split not in self._tables:
            self._tables[split] = self._source.read(split, self._criteria)
        return self._tables[split]

    def _with(self, policy: Policy, split: str) -> Records:
        """The records of a split with the uncertainties that ``policy`` compares."""
        self._check_split(split)
        known = policy.criterion.key in [criterion.key for criterion in self._criteria]
        return self._records(split) if known else self._source.read(split, [policy.criterion])

    def _split(self, split: str | None) -> str:
        """The split asked for; by default ``test`` if there is one."""
        return split or ("test" if "test" in self.splits else "calibration")

    def _check_split(self, split: str) -> None:
        if split == "test" and "test" not in self.splits:
            raise InputError(
                "split: there are no test records",
                "give test=(logits, labels), or use calibration, where results are optimistic",
            )
        choice("split", split, self.splits)

    def _title(self) -> str:
        return f"Run {self.name}"

    def _lines(self) -> dict[str, str]:
        samples = [f"{len(self._records(split))} {split}" for split in self.splits]
        correct = self._records(self.splits[-1]).correct.mean(axis=0)
        names = ", ".join((self.class_names or ())[:NAMED])
        names += ", ..." if len(self.class_names or ()) > NAMED else ""
        classes = f"{self.classes}{f' ({names})' if names else ''}"
        lines = {"exits": str(self.exits)}
        lines |= {} if self._external else {"classes": classes}
        lines |= {
            "samples": ", ".join(samples),
            "accuracy by exit": f"{shares(correct)} ({self.splits[-1]})",
            "cost by exit": self._costs_in_words(),
            "exit criterion": f"{any_of(self.measures)} {self.exit_rule} the threshold",
        }
        if self.policy is not None:
            lines["chosen policy"] = str(self.policy).removeprefix("Policy: ").replace("\n ", ";")
        return lines

    @property
    def _criterion(self) -> ExitCriterion:
        """The first of the exit criteria."""
        return self._criteria[0]

    @property
    def _external(self) -> bool:
        return is_external(self._source.provenance())

    def _costs_in_words(self) -> str:
        macs, ms = self.costs.macs.dropna(), self.costs.ms.dropna()
        words = [", ".join(cost_words(c, self.cost_unit) for c in macs)] if len(macs) else []
        words += [", ".join(f"{t:.3g}" for t in ms) + " ms"] if len(ms) else []
        return "; ".join(words)
