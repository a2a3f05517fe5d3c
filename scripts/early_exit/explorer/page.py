"""The explorer: one HTML file, offline, in which thresholds are set and their effect is seen.

The page recomputes what :func:`early_exit.policy.operating_point.simulate` computes, from the same
uncertainties. It is made of ``template.html``, ``explorer.css``, scripts and uPlot (``vendor/``):
``model.js`` has what is computed, ``text.js`` numbers in words and files, ``charts.js`` what is
drawn, ``explorer.js`` state and controls, and the others a part of the page each.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np

from early_exit import __version__
from early_exit.explorer.data import packed_split, rows_kept
from early_exit.explorer.policy_file import plain_text, policy_text
from early_exit.io.files import replacing
from early_exit.policy import measure_names
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.operating_point import known
from early_exit.records.table import Records
from early_exit.records.uncertainty import measures

STYLES = ("vendor/uPlot.min.css", "explorer.css")
SCRIPTS = (
    "vendor/uPlot.iife.min.js",
    *("model.js", "text.js", "dom.js", "charts.js"),
    *("cards.js", "goals.js", "overview.js", "tables.js", "pictures.js", "keep.js"),
    "explorer.js",
)


@dataclass(frozen=True)
class Content:
    """What the page shows.

    Attributes
    ----------
    name
        Name of the experiment.
    splits
        Records of ``calibration`` and, if there is one, ``test``, with what the criteria need.
    criteria
        Exit criteria that can be switched between, all with the same exit rule.
    costs, cost_unit
        The costs, and the unit of those called MACs, ``macs`` or ``relative``.
    policies
        From :func:`early_exit.explorer.policies.offered`.
    class_names
        C names, or ``None``.
    facts
        Short texts below the title, such as the network's name.
    why
        Why the chosen policy was chosen; empty if there is none.
    warnings
        Doubts about times, and remarks.
    policy_text
        Text of a policy file with gaps, from :mod:`early_exit.explorer.policy_file`; empty for one
        without provenance.
    folder
        Folder of the experiment's results, for commands; empty if there is none.
    thumbnails
        From :func:`early_exit.explorer.thumbnails.sprite`, with ``rows``, their positions on the
        page; empty if samples are no images.
    """

    name: str
    splits: Mapping[str, Records]
    criteria: Sequence[ExitCriterion]
    costs: CostModel
    cost_unit: str = "macs"
    policies: Sequence[Mapping[str, Any]] = ()
    class_names: Sequence[str] | None = None
    facts: Sequence[str] = ()
    why: str = ""
    warnings: Sequence[str] = ()
    policy_text: str = ""
    folder: str = ""
    thumbnails: Mapping[str, Any] = field(default_factory=dict)


def kept(splits: Mapping[str, Records], criteria: Sequence[ExitCriterion]) -> dict[str, np.ndarray]:
    """Positions of the samples that fit on the page, by split."""
    rows = rows_kept(splits, len(criteria))
    return {
        split: np.arange(len(own)) if rows[split] is None else rows[split]
        for split, own in splits.items()
    }


def write_page(path: str | os.PathLike, content: Content) -> None:
    """Write the page."""
    with replacing(path) as temporary:
        temporary.write_text(page(content), encoding="utf-8")


def page(content: Content) -> str:
    """The page as HTML. Names of classes and files stay text wherever they are shown."""
    scripts = [_asset(name) for name in SCRIPTS]
    parts = {
        "title": escape(f"{content.name}: early-exit explorer"),
        "policy": " ".join(f"'sha256-{_digest(own)}'" for own in scripts),
        "styles": "\n".join(f"<style>{_asset(name)}</style>" for name in STYLES),
        "data": _in_script(data_of(content)),
        "scripts": "\n".join(f"<script>{own}</script>" for own in scripts),
    }
    before, *rest = _asset("template.html").split("{{")
    for piece in rest:
        name, _, after = piece.partition("}}")
        before += parts[name] + after
    return before


def data_of(content: Content) -> dict[str, Any]:
    """The page's data, for JSON."""
    rows, exits = kept(content.splits, content.criteria), content.costs.exits
    names = content.class_names
    external = content.splits["calibration"].external
    return {
        "version": __version__,
        "name": content.name,
        "facts": list(content.facts),
        "why": content.why,
        "warnings": list(content.warnings),
        "folder": content.folder,
        "exits": exits,
        "classes": 0 if external else content.splits["calibration"].classes,
        "class_names": None if external or names is None else list(map(str, names)),
        "rule": content.criteria[0].rule.value,
        "measures": [_measure(own, content) for own in content.criteria],
        "costs": _costs(content.costs, content.cost_unit),
        "policies": list(content.policies),
        "policy_file": content.policy_text or plain_text(),
        "checked_file": bool(content.policy_text),
        "thumbnails": dict(content.thumbnails),
        "splits": {
            split: packed_split(own.select(rows[split]), content.criteria, len(own))
            for split, own in content.splits.items()
        },
    }


def _measure(criterion: ExitCriterion, content: Content) -> dict[str, Any]:
    records = content.splits["calibration"]
    largest = measures.maximum(criterion.measure, records.classes)
    return {
        "name": criterion.measure,
        "label": measure_names.label(criterion.measure),
        "unit": measure_names.unit(criterion.measure),
        "largest": largest if np.isfinite(largest) else None,
        "uses_earlier": criterion.uses_earlier,
        "policy_text": policy_text(criterion, content.costs.exits),
    }


def _costs(costs: CostModel, unit: str) -> dict[str, Any]:
    """The cost model; a table is ``None`` in a unit that is not known."""

    def table(array: np.ndarray) -> Any:
        return array.tolist() if np.isfinite(array).all() else None

    return {
        "unit": unit,
        **{
            name: table(getattr(costs, name))
            for name in ("stage_macs", "head_macs", "stage_ms", "head_ms", "overhead_ms")
        },
        "batch_sizes": [int(known(size)) for size in costs.batch_sizes],
        "batch_size": costs.batch_size,
        "regroup": costs.regroup,
    }


def _asset(name: str) -> str:
    return files("early_exit.explorer").joinpath(name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")


def _in_script(content: Any) -> str:
    """JSON that ends no script element and is the same in JavaScript."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
