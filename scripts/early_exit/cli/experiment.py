"""The experiment that a policy belongs to: the files beside it, which must belong together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from early_exit.errors import InputError
from early_exit.files import read_json, sha256
from early_exit.origin import check_same_origin
from early_exit.policy import Policy
from early_exit.records import Records, read_records


@dataclass(frozen=True)
class Experiment:
    """A policy file, and where the rest of its experiment lies.

    Attributes
    ----------
    file
        The policy file, ``results/X/selection/policy.json``.
    content
        What it says.
    policy
        The policy in it.
    """

    file: Path
    content: dict[str, Any]
    policy: Policy

    @property
    def origin(self) -> tuple[str, dict[str, Any]]:
        """What the policy was made from, with its name for messages."""
        return str(self.file), self.content["identity"]

    def beside(self, *parts: str) -> Path:
        """A file of the same experiment, such as ``("data", "manifest.json")``.

        Raises
        ------
        InputError
            If it is not there.
        """
        # From within its folder the file is named without one.
        path = self.file.absolute().parent.parent.joinpath(*parts)
        if not path.is_file():
            raise InputError(
                f"{path}: missing; {self.file} is read beside the files that it was made from, so"
                " keep the experiment's folder together, or run the workflow again"
            )
        return path

    def _belongs(self, path: Path, identity: dict[str, Any]) -> None:
        check_same_origin(
            (str(path), identity),
            self.origin,
            remedy="give the policy that lies beside it in its own experiment's folder",
        )

    def network_file(self) -> Path:
        """The weights that the policy was chosen for."""
        path = self.beside("network", "network.safetensors")
        self._belongs(path, {"network": sha256(path)})
        return path

    def manifest(self) -> dict[str, Any]:
        """What the data set is: ``shape``, ``class_names`` ..."""
        path = self.beside("data", "manifest.json")
        manifest = read_json(path, ["digest", "class_names"])
        if "shape" not in manifest:
            raise InputError(
                f"{self.file}: of an experiment that is made of records, so there is no network to"
                " run on pictures; run it where they came from, and `early-exit check` what it says"
            )
        self._belongs(path, {"data": manifest["digest"]})
        return manifest

    def calibration(self) -> Records:
        """The records that the policy was chosen by."""
        path = self.beside("exits", "calibration.parquet")
        records = read_records(path, logits=self.policy.needs_logits)
        self._belongs(path, records.identity)
        if records.identity.get("split") != "calibration":
            raise InputError(f"{path}: not of the calibration split; delete it and run again")
        return records


def read_experiment(path: str) -> Experiment:
    """The experiment of the policy file at ``path``.

    Raises
    ------
    InputError
        If it is missing, damaged, or no policy file.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path}: there is no such file; give results/X/selection/policy.json")
    content = read_json(file, ["policy", "identity"])
    return Experiment(file, content, Policy.from_json(content["policy"], path))
