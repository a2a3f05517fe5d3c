"""Runs from the results folder of the workflow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from early_exit.api.calibrated import CalibratedPolicy
from early_exit.api.criterion import MEASURES, criteria_of
from early_exit.api.run import Run
from early_exit.calibration.targets import Target
from early_exit.errors import InputError
from early_exit.io.files import read_json, sha256
from early_exit.io.provenance import check_same_provenance
from early_exit.policy.costs import CostModel, read_costs
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.records.parquet import (
    available_measures,
    read_computed,
    read_provenance,
    read_records,
)
from early_exit.records.table import Records

SPLITS = ("calibration", "test")


def load(folder: str | os.PathLike) -> Run:
    """Open the results of a workflow run, such as ``results/digits``.

    Files are read when they are needed, and their checksums verified. An incomplete run can be
    opened if it has the records of the calibration split and the costs.

    Parameters
    ----------
    folder
        Results folder of the experiment.

    Returns
    -------
    Run
        The run, with the chosen policy as ``policy`` and that policy's exit criterion; see
        :meth:`Run.using` for other measures.

    Raises
    ------
    InputError
        If the folder contains no run, or a file is damaged or has another provenance than the
        files beside it.
    """
    return FolderSource(Path(folder)).run()


class FolderSource:
    """The files of one experiment.

    Attributes
    ----------
    name, splits, costs, cost_unit, class_names
        As of :class:`early_exit.api.source.Source`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _check_folder(folder)
        self.name = folder.resolve().name
        self.splits = tuple(split for split in SPLITS if self._records_of(split).is_file())
        self.provenances = [self._provenance_of(split) for split in self.splits]
        self.costs = self._costs()
        manifest = self._json("data/manifest.json", "digest")
        self.cost_unit = manifest.get("cost_unit", "macs")
        names = manifest.get("class_names")
        self.class_names = tuple(names) if names else None

    def run(self) -> Run:
        """The run of these files."""
        chosen = self._json("selection/policy.json", "policy", "identity")
        policy = self._policy(chosen) if chosen else None
        provenance = self.provenance()
        if policy is None:
            measures = available_measures(self._records_of("calibration"), MEASURES)
            criteria = criteria_of(measures, "below", provenance["exits"])
        else:
            criteria = (policy.criterion,)
        return Run(self, criteria, policy, self._json("summary.json") or None)

    def provenance(self) -> dict[str, Any]:
        """The provenance of the calibration records."""
        return self.provenances[0][1]

    def read(self, split: str, criteria: Sequence[ExitCriterion]) -> Records:
        """The records of a split, with the uncertainties that ``criteria`` compare."""
        path = self._records_of(split)
        keys = [own.key for own in criteria if own.needs_logits]
        return read_computed(path, keys) if keys else read_records(path)

    def read_logits(self, split: str) -> Records:
        """The records of a split with logits."""
        return read_records(self._records_of(split), logits=True)

    def policy_file(self, records: Records, criterion: ExitCriterion) -> tuple[str, str]:
        """Text of a policy file with gaps, and the folder; empty if no policy was chosen."""
        from early_exit.explorer.policy_file import described_text

        chosen = self._json("selection/policy.json", "network", "data", "cost", "identity")
        if not chosen:
            return "", ""
        own, network = chosen["cost"], chosen["network"]["name"]
        text = described_text(
            records,
            criterion,
            self.costs,
            own,
            network,
            chosen["data"],
            chosen["identity"],
            own.get("unit"),
        )
        return text, str(self.folder)

    def _records_of(self, split: str) -> Path:
        return self.folder / "exits" / f"{split}.parquet"

    def _provenance_of(self, split: str) -> tuple[str, dict[str, Any]]:
        path = self._records_of(split)
        provenance = read_provenance(path)
        if provenance.get("split") != split:
            raise InputError(
                f"{path}: contains the split {provenance.get('split')}, not {split}",
                "delete it and run the workflow again",
            )
        return str(path), provenance

    def _json(self, name: str, *keys: str) -> dict[str, Any]:
        """Content of a JSON file, which must have ``keys``; empty if the file is missing."""
        path = self.folder / name
        return read_json(path, keys) if path.is_file() else {}

    def _costs(self) -> CostModel:
        table = self.folder / "cost" / "cost.csv"
        machine = self._json("cost/cost.json", "batch_size", "regroup", "identity")
        if not machine or not table.is_file():
            raise InputError(
                f"{table}: missing",
                f"run the workflow up to it (snakemake {table}), then load again",
            )
        made_by = (str(table), machine["identity"])
        check_same_provenance(*self.provenances, made_by, (str(table), {"costs": sha256(table)}))
        return read_costs(table, machine["batch_size"], machine["regroup"])

    def _policy(self, content: dict[str, Any]) -> Policy:
        path = str(self.folder / "selection" / "policy.json")
        check_same_provenance(*self.provenances, (path, content["identity"]))
        policy = Policy.from_json(content["policy"], path)
        if content.get("target_kind") is None:
            return policy
        target = Target(content["target_kind"], float(content["target"]))
        certificate = content.get("certificate")
        return CalibratedPolicy.of(policy, str(content["method"]), target, certificate)


def _check_folder(folder: Path) -> None:
    """Raise an error if the folder contains no run; the message names runs beside it."""
    if (folder / "exits" / "calibration.parquet").is_file():
        return
    inside = folder if folder.is_dir() else folder.parent
    there = sorted(file.parents[1].name for file in inside.glob("*/exits/calibration.parquet"))
    problem = "has no exits/calibration.parquet" if folder.is_dir() else "there is no such folder"
    hint = f"{inside} has {', '.join(there)}" if there else "run the workflow first"
    raise InputError(f"{folder}: {problem}", f"give an experiment's folder in results/ ({hint})")
