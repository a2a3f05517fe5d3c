"""Names of uncertainty measures in figures and on pages: a label, and the unit of a threshold."""

from __future__ import annotations

LABELS = {
    "entropy": ("entropy", "nats"),
    "max_probability": ("1 - max probability", ""),
    "margin": ("1 - margin", ""),
    "energy": ("energy", ""),
    "patience": ("impatience", ""),
    "patient_margin": ("impatience, then 1 - margin", ""),
    "ensemble": ("1 - the ensemble's margin", ""),
    "gate": ("the gate's probability of an error", ""),
    "gate_later": ("the gate's probability that going on helps", ""),
    "accuracy_matched": ("1 - the accuracy at this confidence", ""),
    "class_thresholds": ("1 - margin, by class", ""),
    "confidence": ("1 - confidence", ""),
    "external": ("external uncertainty", ""),
}


def label(measure: str) -> str:
    """The measure in words."""
    return LABELS.get(measure, (measure, ""))[0]


def unit(measure: str) -> str:
    """The unit of the measure; empty if it has none."""
    return LABELS.get(measure, (measure, ""))[1]
