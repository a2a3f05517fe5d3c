"""The experiment of a policy: the files beside it, checked to belong together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from early_exit.errors import AGAIN, InputError
from early_exit.io.files import read_json, sha256
from early_exit.io.provenance import REFERENCE, check_same_provenance
from early_exit.policy.costs import CostModel, read_costs
from early_exit.policy.policy import Policy
from early_exit.records.parquet import read_computed, read_records
from early_exit.records.table import Records


@dataclass(frozen=True)
class Experiment:
    """A policy file and the other files of its experiment.

    Attributes
    ----------
    file
        The policy file, ``results/X/selection/policy.json``.
    content
        Its content.
    policy
        The policy in it.
    """

    file: Path
    content: dict[str, Any]
    policy: Policy

    @property
    def origin(self) -> tuple[str, dict[str, Any]]:
        """Provenance of the policy, with the file's name for messages."""
        return str(self.file), self.content["identity"]

    def beside(self, *parts: str) -> Path:
        """Path of a file of the same experiment, such as ``("data", "manifest.json")``.

        Raises
        ------
        InputError
            If it is missing.
        """
        # Absolute: run from within its folder, the file's name has no parent.
        path = self.file.absolute().parent.parent.joinpath(*parts)
        if not path.is_file():
            raise InputError(
                f"{path}: missing, and {self.file} needs it",
                "keep the files of the experiment together, or run the workflow again",
            )
        return path

    def _belongs(self, path: Path, provenance: dict[str, Any]) -> None:
        check_same_provenance(
            (str(path), provenance),
            self.origin,
            remedy="give the policy from the same experiment's folder",
        )

    def network_file(self) -> Path:
        """Path of the weights that the policy was chosen for."""
        path = self.beside("network", "network.safetensors")
        self._belongs(path, {"network": sha256(path)})
        return path

    @property
    def engine(self) -> str:
        """Backend, precision and the graphs' checksum that the policy was found for."""
        return self.content["identity"].get("engine", REFERENCE)

    def graphs_file(self, precision: str, checksum: str) -> Path:
        """Path of the list of graphs that the policy was found for."""
        path = self.beside("quantize" if precision == "int8" else "graphs", "graphs.json")
        if sha256(path) != checksum:
            raise InputError(
                f"{path}: not the graphs that {self.file} was found for",
                "give the policy from the same experiment's folder",
            )
        return path

    def manifest(self) -> dict[str, Any]:
        """Manifest of the data set: ``shape`` or ``inputs``, ``class_names``, ..."""
        path = self.beside("data", "manifest.json")
        manifest = read_json(path, ["digest", "class_names"])
        if not {"shape", "inputs"} & manifest.keys():
            raise InputError(
                f"{self.file}: of an experiment with external records, which has no network to run"
                " on new samples",
                "record outputs of the original network, and test them with `early-exit check`",
            )
        self._belongs(path, {"data": manifest["digest"]})
        return manifest

    def costs(self) -> CostModel:
        """The costs that the policy was chosen with."""
        path, own = self.beside("cost", "cost.csv"), self.content["cost"]
        self._belongs(path, {"costs": sha256(path)})
        return read_costs(path, own["batch_size"], own["regroup"])

    @property
    def cost_unit(self) -> str:
        """What the costs called MACs are: ``macs``, or ``relative`` of external records."""
        return read_json(self.beside("data", "manifest.json")).get("cost_unit", "macs")

    def calibration(self) -> Records:
        """The reference records for drift: those that the policy's thresholds were found on.

        They are those of the calibration split or, after ``early-exit recalibrate``, new ones,
        whose labels may be unknown.
        """
        if "recalibrated" in self.content:
            return self._recalibrated_on(self.content["recalibrated"])
        path = self.beside("exits", "calibration.parquet")
        records = self._read(path)
        self._belongs(path, records.provenance)
        if records.provenance.get("split") != "calibration":
            raise InputError(f"{path}: not of the calibration split", AGAIN)
        return records

    def _recalibrated_on(self, origin: dict[str, Any]) -> Records:
        # Only the name: the file is beside the policy, wherever both have been moved to.
        path = self.file.absolute().with_name(Path(origin["reference"]).name)
        if not path.is_file() or sha256(path) != origin["reference_sha256"]:
            what = "not the records" if path.is_file() else "missing; it has the records"
            raise InputError(
                f"{path}: {what} that {self.file} was recalibrated on",
                "keep both files together, or run early-exit recalibrate again",
            )
        return self._read(path, labelled=False)

    def _read(self, path: Path, labelled: bool = True) -> Records:
        if self.policy.criterion.needs_logits:
            return read_computed(path, [self.policy.criterion.key], labelled)
        return read_records(path, labelled=labelled)


def read_experiment(path: str) -> Experiment:
    """The experiment of the policy file at ``path``.

    Raises
    ------
    InputError
        If it is missing, damaged, or not a policy file.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: there is no such file", "give results/X/selection/policy.json")
    content = read_json(file, ["policy", "identity"])
    return Experiment(file, content, Policy.from_json(content["policy"], path))
