"""A job's input files, including records, costs and policies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from early_exit.errors import AGAIN, InputError
from early_exit.io.files import read_json, sha256
from early_exit.policy.costs import CostModel, read_costs
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.policy import Policy
from early_exit.records.parquet import (
    available_measures,
    read_computed,
    read_pieces,
    read_provenance,
    read_records,
)
from early_exit.records.table import Records
from job.inputs import Inputs


class RecordInputs(Inputs):
    """:class:`job.inputs.Inputs` of a job that works on records.

    A file of records must contain the split that it is named after: thresholds come from the
    calibration split alone.
    """

    def records(
        self,
        name: str = "records",
        logits: bool = False,
        criteria: Sequence[ExitCriterion] = (),
    ) -> Records:
        """The records of an input.

        Parameters
        ----------
        logits
            Whether to keep all logits, which may take much memory.
        criteria
            Exit criteria. Uncertainties that need logits are computed while reading.
        """
        path = self.files[name]
        keys = [criterion.key for criterion in criteria if criterion.needs_logits]
        return read_computed(path, keys) if keys else read_records(path, logits=logits)

    def described(self, name: str = "records") -> dict[str, Any]:
        """Metadata of an input's records, such as ``exits`` and ``classes``; reads no records."""
        return self._provenance[self.files[name]]

    def pieces(
        self, name: str = "records", logits: bool = False, part: int = 1, parts: int = 1
    ) -> Iterator[Records]:
        """The records of an input in pieces, all or those of one of ``parts``, numbered from 1."""
        return read_pieces(self.files[name], logits, part, parts)

    def criteria(self) -> list[ExitCriterion]:
        """The experiment's exit criteria, one for each measure that the input ``records`` allows.

        They are made of the params ``measure``, a list, and ``exit_rule`` (``below`` if missing),
        and of the inputs ``temperatures`` and ``parameters`` if there are any.
        """
        temperatures = None
        if self.files.get("temperatures"):
            temperatures = tuple(self.json("temperatures", ("temperatures",))["temperatures"])
        parameters: dict[str, Any] = {}
        if self.files.get("parameters"):
            parameters = self.json("parameters", ("parameters",))["parameters"]
        rule = ExitRule(self.params.get("exit_rule", "below"))
        measures = available_measures(self.files.records, self.params.measure)
        return [ExitCriterion(name, rule, temperatures, parameters.get(name)) for name in measures]

    def criterion(self) -> ExitCriterion:
        """The first of the experiment's exit criteria."""
        return self.criteria()[0]

    def policy(self) -> Policy:
        """The chosen policy, from the input ``policy``."""
        return Policy.from_json(self.json("policy", ("policy",))["policy"], self.files.policy)

    def costs(self) -> CostModel:
        """The costs, from the inputs ``costs`` and ``machine``."""
        machine = self.json("machine", ("batch_size", "regroup"))
        return read_costs(self.files.costs, machine["batch_size"], machine["regroup"])

    def _provenance_of(self, name: str, path: str) -> dict[str, Any]:
        if path.endswith(".parquet"):
            found = read_provenance(path)
            _check_split(path, found)
            return found
        found = super()._provenance_of(name, path)
        return found | {"costs": sha256(path)} if name == "costs" else found


def read_external(path: Any, what: str, file: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifest of external records, and the provenance of files imported from them.

    Raises
    ------
    InputError
        If ``file`` is not the one that the manifest describes as ``what``.
    """
    manifest = read_json(path, ["dataset", "settings", "digest"])
    if manifest.get("files", {}).get(what) != sha256(file):
        raise InputError(
            f"{file}: not the file that {path} describes", f"delete {path} and run again"
        )
    return manifest, {"network": manifest["digest"], "data": manifest["digest"]}


def _check_split(path: str, provenance: dict[str, Any]) -> None:
    expected, found = Path(path).stem, provenance.get("split")
    if found != expected:
        raise InputError(f"{path}: holds the split {found}, not {expected}", AGAIN)
