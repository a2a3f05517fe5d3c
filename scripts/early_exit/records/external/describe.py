"""Check that splits and costs of external records belong together, and write their manifest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from early_exit.errors import InputError
from early_exit.io.files import has_line_break
from early_exit.io.provenance import check_same_provenance
from early_exit.records.external import axes
from early_exit.records.external import remarks as odd
from early_exit.records.external.read import open_external
from early_exit.records.table import Records, joined
from early_exit.records.uncertainty.measures import GIVEN, available


@dataclass(frozen=True)
class Examined:
    """A checked split of external records.

    Attributes
    ----------
    records
        The records, without logits.
    kind
        Kind of the file, one of ``KINDS``.
    remarks
        Warnings about its content, one line each.
    """

    records: Records
    kind: str
    remarks: tuple[str, ...] = ()

    def check_measures(self, wanted: Sequence[str]) -> None:
        """Check that the file allows one of the ``wanted`` measures.

        Raises
        ------
        InputError
            As :meth:`early_exit.records.table.Records.check_measure`, with the file's logits.
        """
        logits, confidence = self.kind == "logits", self.records.confidence is not None
        for measure in available(wanted, self.records.external, logits, confidence):
            if not logits or measure in GIVEN:
                self.records.check_measure(measure)


def examine(
    path: str | os.PathLike,
    split: str,
    classes: int | None = None,
    rule_sign: int = 1,
) -> Examined:
    """Read a split as :func:`read_external_records`, without logits and with warnings.

    Parameters
    ----------
    rule_sign
        -1 where the experiment's exit rule is ``above``, else 1.
    """
    external, watched = open_external(path, split, classes), odd.Probabilities()

    def pieces() -> Iterator[Records]:
        for piece in external.pieces():
            if piece.logits is not None:
                watched.update(piece.logits)
            yield piece.without_logits()

    records = joined(pieces())
    remarks = watched.remarks() + odd.of_split(records, rule_sign, external.indexed)
    return Examined(records, external.kind, tuple(remarks))


def describe(
    files: Mapping[str, str],
    calibration: Examined,
    test: Examined,
    exits: int,
    class_names: list[str] | None = None,
    costs: Mapping[str, Any] | None = None,
    unit: str | None = None,
) -> dict[str, Any]:
    """Manifest of an experiment's external records, after checking that they belong together.

    Parameters
    ----------
    files
        SHA-256 of the files ``calibration``, ``test`` and ``costs``.
    exits
        K, by the cost table.
    costs
        Provenance of the cost table, if known.
    unit
        ``relative`` if its costs are not MACs.

    Returns
    -------
    dict
        ``dataset`` ("records"), ``classes`` (``None`` for external uncertainties), ``class_names``,
        ``files``, ``settings``, ``exits`` and ``samples``; for external uncertainties ``measure``
        and ``span``, their range on calibration at the exits with thresholds; for relative costs
        ``cost_unit``; ``digest``, a SHA-256 of all these; and ``remarks``, the warnings.

    Raises
    ------
    InputError
        If the splits do not match each other or the costs, or have the same samples.
    """
    if files["calibration"] == files["test"]:
        raise InputError(
            "records: calibration and test are the same file, so nothing would show whether"
            " thresholds hold on other samples",
            "use other samples for test",
        )
    _check_exits(calibration, test, exits)
    one, other = _content(calibration), _content(test)
    if one != other:
        raise InputError(
            f"records.test: {other}, but records.calibration has {one}; both must be of one kind"
        )
    seen = calibration.records
    check_same_provenance(
        ("records.calibration", seen.provenance),
        ("records.test", test.records.provenance),
        ("records.costs", dict(costs or {})),
        remedy="name files of one experiment",
    )
    classes = None if seen.external else seen.classes
    _check_names(class_names, classes)
    manifest = {
        "dataset": "records",
        "classes": classes,
        "class_names": class_names,
        "files": dict(files),
        "settings": {},
        "exits": exits,
        "samples": {"calibration": len(seen), "test": len(test.records)},
    }
    if seen.external:
        # The final exit has no threshold.
        early = seen.uncertainty[:, : max(1, exits - 1)]
        span = [float(early.min()), float(early.max())]
        manifest |= {"measure": seen.measure, "span": span}
    if unit is not None:
        manifest["cost_unit"] = unit
    text = json.dumps(manifest, sort_keys=True).encode()
    remarks = [f"records.calibration: {remark}" for remark in calibration.remarks]
    remarks += [f"records.test: {remark}" for remark in (*test.remarks, *_shared(seen, test))]
    return manifest | {"digest": hashlib.sha256(text).hexdigest(), "remarks": remarks}


def _check_exits(calibration: Examined, test: Examined, exits: int) -> None:
    """Refuse splits and cost tables of different numbers of exits."""
    numbers = [split.records.exits for split in (calibration, test)]
    for split, found in (("calibration", calibration), ("test", test)):
        own = found.records
        if own.exits == exits:
            continue
        hint = axes.swapped(own.external, len(own), own.exits, own.classes, exits)
        if numbers[0] == numbers[1] and not hint:
            hint = "; the cost table needs a row for each exit"
        elif not hint:
            hint = (
                f" (and records.{'test' if split == 'calibration' else 'calibration'} has"
                f" {numbers[split == 'calibration']}); all three must be of the same exits"
            )
        raise InputError(
            f"records.costs: costs of {exits} exits, but records.{split} has {own.exits}{hint}"
        )


def _check_names(class_names: list[str] | None, classes: int | None) -> None:
    if class_names is not None and len(class_names) != classes:
        has = (
            "have no classes, only correct or not" if classes is None else f"have {classes} classes"
        )
        raise InputError(
            f"records.class_names: {len(class_names)} names, but the records {has}",
            "name each class in the order of its number, or remove the names",
        )
    if broken := [name for name in class_names or () if has_line_break(name)]:
        raise InputError(f"records.class_names: {broken[0]!r} has a line break", "rename it")


def _shared(calibration: Records, test: Examined) -> list[str]:
    """Warning about test samples that are in the calibration split too."""
    shared, samples = odd.in_both(calibration, test.records), len(test.records)
    if shared == samples == len(calibration):
        raise InputError(
            "records: calibration and test have the same samples, so nothing would show whether"
            " thresholds hold on others",
            "use other samples for test",
        )
    if not shared:
        return []
    return [
        f"{shared} of {samples} samples are in records.calibration too (equal at every exit to the"
        " last digit), so the accuracy on test is not that on new samples; remove them from one"
    ]


def _content(split: Examined) -> str:
    if split.records.external:
        return "external uncertainties"
    what = "logits" if split.kind == "logits" else "entropies"
    return f"{what} of {split.records.classes} classes"
