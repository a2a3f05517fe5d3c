"""Sources of a run's records: files of a workflow run, or arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from early_exit.errors import InputError
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.records.table import Records


class Source(Protocol):
    """Records and costs that a run is made from.

    Attributes
    ----------
    name
        Name of the run.
    splits
        The splits with records; ``calibration`` is one of them.
    costs, cost_unit
        Costs of stages and heads, and the unit of those called MACs, ``macs`` or ``relative``.
    class_names
        C names, or ``None``.
    """

    name: str
    splits: tuple[str, ...]
    costs: CostModel
    cost_unit: str
    class_names: tuple[str, ...] | None

    def provenance(self) -> dict[str, Any]:
        """The provenance of the calibration records."""

    def read(self, split: str, criteria: Sequence[ExitCriterion]) -> Records:
        """The records of a split, with the uncertainties that ``criteria`` compare."""

    def read_logits(self, split: str) -> Records:
        """The records of a split with logits; an :class:`InputError` if there are none."""

    def policy_file(self, records: Records, criterion: ExitCriterion) -> tuple[str, str]:
        """Text of a policy file with gaps, and the folder of the results; empty without files."""


@dataclass(frozen=True)
class Arrays:
    """Records in memory."""

    name: str
    tables: dict[str, Records]
    costs: CostModel
    cost_unit: str
    class_names: tuple[str, ...] | None

    @property
    def splits(self) -> tuple[str, ...]:
        """The given splits."""
        return tuple(self.tables)

    def provenance(self) -> dict[str, Any]:
        """The provenance of the calibration records."""
        return self.tables["calibration"].provenance

    def read(self, split: str, criteria: Sequence[ExitCriterion]) -> Records:
        """The given records, with the uncertainties that ``criteria`` compare."""
        keys = [own.key for own in criteria if own.needs_logits]
        return self.tables[split].with_computed(*keys)

    def read_logits(self, split: str) -> Records:
        """The given records, which must have logits."""
        if self.tables[split].logits is None:
            raise InputError(
                "logits: this run was made from uncertainties",
                "make it from logits (from_logits) to use another measure or temperatures",
            )
        return self.tables[split]

    def policy_file(self, records: Records, criterion: ExitCriterion) -> tuple[str, str]:
        """Nothing: there are no files that a policy file could belong to."""
        return "", ""
