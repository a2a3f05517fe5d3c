"""Text of a policy file with gaps, which the page fills with thresholds and what follows from them.

The page cannot write JSON as Python does, and the checksum is over that text. So the text is
written here, in the form that :func:`early_exit.io.files.read_json` takes the checksum of, and the
page writes numbers into the gaps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from early_exit.analysis.own_thresholds import own_choice
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.description import describe
from early_exit.policy.policy import full_network
from early_exit.records.table import Records

# Around the name of a gap; no text of JSON has it unescaped.
GAP = "\x00"


def policy_text(criterion: ExitCriterion, exits: int) -> str:
    """JSON of a policy by this criterion, with the gap ``thresholds``."""
    content = full_network(criterion, exits).to_json() | {"thresholds": _gap("thresholds")}
    return _opened(_canonical(content))


def plain_text() -> str:
    """Content of a file of ``Policy.save``, with the gap ``policy``."""
    return _opened(_canonical({"policy": _gap("policy")}))


def described_text(
    records: Records,
    criterion: ExitCriterion,
    costs: CostModel,
    machine: Mapping[str, Any],
    network: str | None,
    manifest: Mapping[str, Any] | None,
    identity: Mapping[str, Any],
    unit: str | None = None,
) -> str:
    """Content of a ``policy.json`` that ``early-exit predict`` takes, without its checksum.

    Its gaps are ``policy``, ``thresholds``, ``calibration``, ``macs`` and ``ms``.

    Parameters
    ----------
    records
        The samples on the page, of the calibration split.
    criterion, costs, machine, network, manifest, unit
        As of :func:`early_exit.policy.description.describe`.
    identity
        Provenance of the file.
    """
    policy = full_network(criterion, records.exits)
    chosen = own_choice(policy, records, costs)
    content = describe(chosen, records, costs, machine, network, manifest, unit)
    content |= {
        "policy": _gap("policy"),
        "criterion": {"name": chosen["method"], "thresholds": _gap("thresholds")},
        "calibration": _gap("calibration"),
        "cost": content["cost"] | {"macs": _gap("macs"), "ms_per_sample": _gap("ms")},
        "identity": dict(identity),
    }
    return _opened(_canonical(content))


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, allow_nan=False)


def _gap(name: str) -> str:
    return f"{GAP}{name}{GAP}"


def _opened(text: str) -> str:
    """The text with gaps in the place of strings."""
    for name in ("policy", "thresholds", "calibration", "macs", "ms"):
        text = text.replace(_canonical(_gap(name)), _gap(name))
    return text
