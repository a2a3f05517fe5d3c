"""Records: the outputs of every exit for every sample of a split.

A row is a sample, in the order of the data set. Every later step works on these arrays. Logits are
most of their size, so they are processed in pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from early_exit.errors import InputError
from early_exit.records.uncertainty import entropy as entropy_measure
from early_exit.records.uncertainty import measures
from early_exit.records.uncertainty.measures import (
    CONFIDENCE,
    EXTERNAL,
    RECORDED,
)

# Arrays of records, with a row for each sample.
COLUMNS = ("index", "label", "uncertainty", "prediction", "logits", "confidence")
# Most logits in a piece: double-precision computations take ten times their memory, about 600 MB.
VALUES = 2**23
# A measure, temperatures, and fitted parameters as JSON.
Key = tuple[str, tuple[float, ...] | None, str | None]
# Uncertainties (N, K), and predictions (N, K) unless they are those of the exits.
Seen = tuple[np.ndarray, np.ndarray | None]
# Label of a sample of unknown class; only drift detection accepts such records.
UNKNOWN = -1


@dataclass(frozen=True)
class Records:
    """Outputs of K exits for N samples of C classes.

    Attributes
    ----------
    index
        Shape (N,), the position of each sample in its data set.
    label
        Shape (N,), the true class; -1 if unknown.
    uncertainty
        Shape (N, K), by :attr:`measure`; low is sure. Entropies are float32, in nats.
    prediction
        Shape (N, K), the class predicted by each exit.
    logits
        Shape (N, K, C), float32, or ``None`` if they were not read.
    provenance
        Origin of the records: ``network``, ``data``, ``split``, ``classes``, ``exits``; and
        ``measure`` if it is not entropy.
    computed
        Uncertainties (N, K), and predictions if they are others, by measure, temperatures and
        parameters; computed before logits were dropped.
    confidence
        Shape (N, K), float32, what the heads returned with their logits, high is sure; ``None`` if
        they returned none.

    Notes
    -----
    External records may have only uncertainties, in any unit, and whether each exit is correct.
    Their ``measure`` is ``external``, their uncertainties are in double precision, and ``span`` in
    their provenance is the range on the calibration split. They have two classes: every ``label``
    is 1, and a ``prediction`` is 1 if correct, else 0.
    """

    index: np.ndarray
    label: np.ndarray
    uncertainty: np.ndarray
    prediction: np.ndarray
    logits: np.ndarray | None
    provenance: dict[str, Any]
    computed: dict[Key, Seen] = field(default_factory=dict)
    confidence: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    @property
    def exits(self) -> int:
        """K, the number of exits."""
        return self.uncertainty.shape[1]

    @property
    def classes(self) -> int:
        """C, the number of classes."""
        return self.provenance["classes"]

    @property
    def measure(self) -> str:
        """The measure of ``uncertainty``: ``entropy`` or ``external``."""
        return EXTERNAL if self.external else "entropy"

    @property
    def external(self) -> bool:
        """Whether these are external uncertainties, with correctness instead of classes."""
        return is_external(self.provenance)

    @property
    def correct(self) -> np.ndarray:
        """Shape (N, K), whether each exit's prediction is correct."""
        return self.prediction == self.label[:, None]

    def select(self, rows: np.ndarray | slice) -> Records:
        """The samples at ``rows``."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        known = {
            key: (unsure[rows], predicted if predicted is None else predicted[rows])
            for key, (unsure, predicted) in self.computed.items()
        }
        chosen = {name: own[rows] for name, own in columns.items() if own is not None}
        return replace(self, **chosen, computed=known)

    def pieces(self, rows: int) -> Iterator[Records]:
        """The samples in order, ``rows`` at a time."""
        return (self.select(slice(start, start + rows)) for start in range(0, len(self), rows))

    def without_logits(self, *keys: Key) -> Records:
        """Records without logits; uncertainties by ``keys`` are computed first."""
        return replace(self.with_computed(*keys), logits=None)

    def with_computed(self, *keys: Key) -> Records:
        """Records that have the uncertainties by ``keys``, so that they are computed once."""
        return replace(self, computed={key: self._seen(key) for key in keys})

    def check_measure(self, measure: str) -> None:
        """Check that the records contain a measure, or the logits to compute it.

        Raises
        ------
        InputError
            If they do not.
        """
        if self.external != (measure == EXTERNAL):
            held = "external uncertainties" if self.external else "entropies or logits"
            raise InputError(
                f"records: have {held}, not the measure {measure}", f"set measure to {self.measure}"
            )
        known = {name for name, *_ in self.computed}
        if measure == CONFIDENCE and self.confidence is None:
            raise InputError(
                "records: have no confidences",
                "set measure to another one, or let the network's heads return (logits,"
                " confidence), as docs/networks.md shows, and run again",
            )
        if measure not in {*RECORDED, *known} and self.logits is None:
            raise InputError(f"records: the measure {measure} needs logits, but none were read")

    def uncertainty_by(
        self, measure: str, temperatures: tuple[float, ...] | None = None
    ) -> np.ndarray:
        """Uncertainties (N, K) by the name of a measure without parameters; low is sure.

        Parameters
        ----------
        temperatures
            K numbers by which the exits' logits are divided first.

        Raises
        ------
        InputError
            As of :meth:`seen_by`.
        """
        return self.seen_by((measure, temperatures, None))[0]

    def seen_by(self, key: Key) -> tuple[np.ndarray, np.ndarray]:
        """Uncertainties and predictions (N, K) by a measure, temperatures and parameters.

        Raises
        ------
        InputError
            If the records do not contain the measure, it needs logits and none were read, or there
            are not K temperatures.
        """
        uncertainty, prediction = self._seen(key)
        return uncertainty, self.prediction if prediction is None else prediction

    def _seen(self, key: Key) -> Seen:
        measure, temperatures, parameters = key
        self.check_measure(measure)
        if measure == self.measure and temperatures is None:
            return self.uncertainty, None
        if measure == CONFIDENCE:
            # In single precision, as the runner computes it; no temperature changes it.
            return 1 - self.confidence, None
        if (known := self.computed.get(key)) is not None:
            return known
        if self.logits is None:
            raise InputError("records: temperatures need logits, but none were read")
        if temperatures is not None and len(temperatures) != self.exits:
            raise InputError(
                f"temperatures: {len(temperatures)}, but the records have {self.exits} exits",
                "give one for each",
            )
        step = measures.step(measure, parameters, self.exits)
        rows = rows_at_a_time(self.logits)
        uncertainty = np.empty(self.logits.shape[:2], np.float32)
        prediction: np.ndarray | None = None
        for start in range(0, len(self), rows):
            piece, memory = slice(start, start + rows), ()
            for k in range(self.exits):
                logits = self.logits[piece, k].astype(np.float64)
                if temperatures is not None:
                    logits /= temperatures[k]
                uncertainty[piece, k], own, memory = step(logits, k, memory)
                if own is not None:
                    prediction = self.prediction.copy() if prediction is None else prediction
                    prediction[piece, k] = own
        return uncertainty, prediction


def is_external(provenance: dict[str, Any]) -> bool:
    """Whether records with this provenance contain external uncertainties."""
    return provenance.get("measure") == EXTERNAL


def rows_at_a_time(logits: np.ndarray) -> int:
    """Number of samples of logits (N, ..., C) in a piece that fits into memory."""
    return max(1, VALUES // max(1, int(np.prod(logits.shape[1:]))))


def joined(pieces: Iterable[Records]) -> Records:
    """Records of all pieces in order; at least one piece is needed."""
    kept = list(pieces)
    columns = {name: [getattr(piece, name) for piece in kept] for name in COLUMNS}
    arrays = {name: np.concatenate(own) for name, own in columns.items() if own[0] is not None}
    known = {key: _joined_seen([p.computed[key] for p in kept]) for key in kept[0].computed}
    return replace(kept[0], **arrays, computed=known)


def _joined_seen(pieces: list[Seen]) -> Seen:
    unsure, predicted = zip(*pieces, strict=True)
    others = None if predicted[0] is None else np.concatenate(predicted)
    return np.concatenate(unsure), others


def from_logits(
    index: np.ndarray,
    label: np.ndarray,
    logits: np.ndarray,
    provenance: dict[str, Any],
    whole: bool = True,
    labelled: bool = True,
    confidence: np.ndarray | None = None,
) -> Records:
    """Records from every exit's logits, shape (N, K, C).

    Parameters
    ----------
    confidence
        What the heads returned with their logits, shape (N, K).
    whole
        Whether this is a complete split; a piece may have a single class.
    labelled
        Whether every label must be known; else it may be ``UNKNOWN``.

    Raises
    ------
    InputError
        If a logit or confidence is not finite, the shapes do not match, or a complete split has a
        single class.
    """
    where = f"records of split {provenance.get('split', '?')}"
    if logits.ndim != 3 or len(logits) != len(label) or len(index) != len(label):
        raise InputError(
            f"{where}: logits of shape {logits.shape} for {len(label)} labels; expected (N, K, C)"
        )
    _check_logits(index, logits, where)
    if confidence is not None:
        confidence = _checked_confidence(index, confidence, logits.shape[:2], where)
    check_labels(label, logits.shape[2], where, whole, labelled)
    provenance = provenance | {"classes": logits.shape[2], "exits": logits.shape[1]}
    return Records(
        np.asarray(index, np.int64),
        np.asarray(label, np.int64),
        _entropies(logits),
        logits.argmax(axis=2).astype(np.int64),
        logits.astype(np.float32, copy=False),
        provenance,
        confidence=confidence,
    )


def from_external(
    index: np.ndarray, uncertainty: np.ndarray, correct: np.ndarray, provenance: dict[str, Any]
) -> Records:
    """Records from external uncertainties and whether each exit is correct, both shape (N, K)."""
    provenance = provenance | {"measure": EXTERNAL, "classes": 2, "exits": uncertainty.shape[1]}
    label = np.ones(len(index), np.int64)
    return Records(
        np.asarray(index, np.int64),
        label,
        np.asarray(uncertainty, np.float64),
        np.asarray(correct, np.int64),
        None,
        provenance,
    )


def _check_logits(index: np.ndarray, logits: np.ndarray, where: str) -> None:
    rows = rows_at_a_time(logits)
    starts = range(0, len(logits), rows)
    finite = [np.isfinite(logits[s : s + rows]).all(axis=(1, 2)) for s in starts]
    bad = ~np.concatenate([np.ones(0, bool), *finite])
    if bad.any():
        exit_number = 1 + int((~np.isfinite(logits[bad.argmax()])).any(axis=1).argmax())
        raise InputError(
            f"{where}: logits of {int(bad.sum())} samples are NaN or infinite, first sample"
            f" {int(index[bad][0])} at exit {exit_number}: the checkpoint is damaged, or training"
            " has diverged",
            "use another checkpoint or a lower learning rate",
        )


def _checked_confidence(
    index: np.ndarray, confidence: np.ndarray, shape: tuple[int, int], where: str
) -> np.ndarray:
    """Confidences (N, K) in single precision, after checking that they are finite."""
    if confidence.shape != shape:
        raise InputError(f"{where}: confidences of shape {confidence.shape}; expected {shape}")
    with np.errstate(over="ignore"):
        confidence = confidence.astype(np.float32, copy=False)
    bad = ~np.isfinite(confidence)
    if bad.any():
        sample, exit = np.argwhere(bad)[0]
        raise InputError(
            f"{where}: confidences of {int(bad.any(axis=1).sum())} samples are NaN or infinite,"
            f" first sample {int(index[sample])} at exit {exit + 1}",
            "use another checkpoint, or let the heads return finite numbers",
        )
    return confidence


def _entropies(logits: np.ndarray) -> np.ndarray:
    """Entropies (N, K) of logits (N, K, C)."""
    entropy = np.empty(logits.shape[:2], np.float32)
    for start in range(0, len(logits), rows_at_a_time(logits)):
        rows = slice(start, start + rows_at_a_time(logits))
        entropy[rows] = entropy_measure.uncertainty(logits[rows].astype(np.float64))
    return entropy


def check_labels(
    label: np.ndarray, classes: int, where: str, whole: bool, labelled: bool = True
) -> None:
    """Check labels (N,): present, in range and, in a complete split, of several classes."""
    if len(label) == 0:
        raise InputError(f"{where}: no samples", "give the split some in the dataset settings")
    if label.min() < (0 if labelled else UNKNOWN) or label.max() >= classes:
        raise InputError(
            f"{where}: labels from {label.min()} to {label.max()}, but {classes} classes"
            " (labels are numbers from 0)",
            "check the data set, the network's classes, or records.class_names",
        )
    if whole and label.min() == label.max():
        raise InputError(
            f"{where}: all {len(label)} samples are of class {label[0]}, so accuracy and thresholds"
            " would mean nothing",
            "check the labels, or give the split more samples",
        )
