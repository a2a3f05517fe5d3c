"""The result of an experiment in one line."""

from __future__ import annotations

import os
from typing import Any

from early_exit.analysis.times import doubted
from early_exit.policy.units import of_words


def headline(summary: dict[str, Any], folder: str | os.PathLike) -> list[str]:
    """The result of an experiment in one line, and a line for each warning about it.

    Accuracy and MACs come first: they are the same on every machine, and in every run.

    Parameters
    ----------
    summary
        From :func:`early_exit.analysis.summary.summarise`.
    folder
        The results folder.
    """
    name, own, full = summary["experiment"], summary["selected"], summary["full_network"]
    unit = summary.get("cost_unit", "macs")
    if summary["simulated"]:
        result = f"{own['accuracy']:.2%} accurate in simulation, {_saved(own, full, unit)}"
    else:
        result = (
            f"{own['accuracy']:.2%} accurate (the full network: {full['accuracy']:.2%}) at"
            f" {of_words(own['macs'], full['macs'], unit)}{_share(own['macs'], full['macs'])},"
            f" {_faster(summary)}"
        )
    lines = [f"{name}: {result}. See {folder}/"]
    if summary["doubt"]:
        lines.append(f"{name}: doubtful: {summary['doubt']}")
    lines += [f"{name}: warning: {remark}" for remark in summary.get("remarks", [])]
    return lines


def _share(macs: float, whole: float) -> str:
    """A share of the full network's MACs; empty if none of its operations could be counted."""
    return f" ({macs / whole:.1%})" if whole else ""


def _faster(summary: dict[str, Any]) -> str:
    """The measured speed-up, and whether it is in doubt."""
    found = f"{summary['selected']['speedup']:.2f} times as fast"
    return f"measured {found}, which is in doubt" if doubted(summary) else found


def _saved(own: dict[str, Any], full: dict[str, Any], unit: str) -> str:
    """Costs of a simulated policy and the full network, in the known units."""
    words = []
    if own["macs"] is not None:
        words.append(of_words(own["macs"], full["macs"], unit))
    if own["ms_per_sample_predicted"] is not None:
        times = own["ms_per_sample_predicted"], full["ms_per_sample_predicted"]
        words.append("{:.3f} of {:.3f} ms predicted".format(*times))
    return f"{', '.join(words)} (the full network: {full['accuracy']:.2%})"
