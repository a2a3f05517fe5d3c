"""What the scripts share that work on records: how their inputs are read, and held together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from early_exit.cost_model import CostModel, read_costs
from early_exit.errors import InputError
from early_exit.files import read_json, read_table, sha256
from early_exit.origin import check_same_origin
from early_exit.policy import ExitRule, Policy, whole_network
from early_exit.records import Records, read_identity, read_pieces, read_records
from early_exit.uncertainty import RECORDED
from stage_runner import read_manifest


def origin(path: Any) -> tuple[str, dict[str, Any]]:
    """Identity of a stage's side file, JSON or CSV, with its name for messages."""
    if str(path).endswith(".csv"):
        return str(path), read_table(path, []).attrs["identity"]
    return str(path), read_json(path, ["identity"])["identity"]


def read_described(path: Any, what: str, file: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifest of records from elsewhere, and the identity of what is made of them.

    Raises
    ------
    InputError
        If ``file`` is not the one that the manifest describes as ``what``.
    """
    manifest, _ = read_manifest(path)
    if manifest.get("files", {}).get(what) != sha256(file):
        raise InputError(f"{file}: not the file that {path} describes; delete {path} and run again")
    return manifest, {"network": manifest["digest"], "data": manifest["digest"]}


def read_split(path: Any, logits: bool = False) -> Records:
    """The records of the split that a file is named after.

    Raises
    ------
    InputError
        If they are of another split, and so would be used for what they must not be.
    """
    records = read_records(path, logits=logits)
    _check_split(path, records.identity)
    return records


def _check_split(path: Any, identity: dict[str, Any]) -> None:
    expected, found = Path(path).stem, identity.get("split")
    if found != expected:
        raise InputError(
            f"{path}: holds the split {found}, not {expected}; delete it and run again"
        )


def identity_of(records: Records, files: Any) -> dict[str, Any]:
    """What a job's results were made from: its records and, where it has any, its prices."""
    return made_from(records.identity, files)


def made_from(identity: dict[str, Any], files: Any) -> dict[str, Any]:
    """As :func:`identity_of`, from the identity of the records."""
    own = {key: identity[key] for key in ("network", "data", "split")}
    if files.get("machine"):
        own["costs"] = origin(files.machine)[1]["costs"]
    return own


def read_seen(files: Any, params: Any) -> tuple[Records, Policy]:
    """A job's `records`, and the policy that sees them as the experiment says: nobody leaves.

    The job has the params `measure` and, unless it takes both rules in turn, `exit_rule`; and the
    input `temperatures` where logits are scaled.
    """
    records = read_split(files.records, logits=_needs_logits(files, params))
    return records, seen_by(files, params, records.identity)


def pieces_seen(
    files: Any, params: Any, part: int = 1, parts: int = 1
) -> tuple[dict[str, Any], Policy, Iterator[Records]]:
    """As :func:`read_seen`, a row group at a time: their identity, the policy, and the pieces."""
    identity = read_identity(files.records)
    _check_split(files.records, identity)
    sees = seen_by(files, params, identity)
    pieces = read_pieces(files.records, _needs_logits(files, params), part, parts)
    return identity, sees, pieces


def seen_by(files: Any, params: Any, identity: dict[str, Any]) -> Policy:
    """The policy that sees a job's records, of which this is the identity."""
    identities = [(files.records, identity), origin(files.machine)]
    temperatures, scaled = None, files.get("temperatures")
    if scaled:
        identities.append(origin(scaled))
        temperatures = tuple(read_json(scaled, ["temperatures"])["temperatures"])
    check_same_origin(*identities)
    rule = ExitRule(params.get("exit_rule", "below"))
    return whole_network(params.measure, rule, identity["exits"], temperatures)


def _needs_logits(files: Any, params: Any) -> bool:
    return params.measure not in RECORDED or bool(files.get("temperatures"))


def costs_of(files: Any) -> CostModel:
    """The prices that a job was given as `costs` and `machine`, which belong together."""
    machine = read_json(files.machine, ["batch_size", "regroup"])
    costs = read_costs(files.costs, machine["batch_size"], machine["regroup"])
    check_same_origin((files.costs, {"costs": sha256(files.costs)}), origin(files.machine))
    return costs
