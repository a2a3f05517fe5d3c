"""Reliability diagrams: accuracy against confidence, an exit a panel."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot
from matplotlib.figure import Figure

from early_exit.figures import style

COLUMNS = 3
SERIES = {False: ("as it is", style.ORANGE), True: ("temperature fitted", style.BLUE)}


def draw(tables: dict[str, Any]) -> Figure:
    """From ``reliability`` and ``quality``."""
    quality, bins = tables["quality"], tables["reliability"]
    exits = int(quality.exit.max())
    columns = min(COLUMNS, exits)
    lines = -(-exits // columns)
    size = (4.2 * columns, 3.9 * lines + 0.8)
    figure, places = pyplot.subplots(
        lines, columns, figsize=size, sharex=True, sharey=True, squeeze=False
    )
    for number, axes in enumerate(places.flat, 1):
        if number > exits:
            axes.set_visible(False)
            continue
        axes.plot([0, 100], [0, 100], color="black", linewidth=0.8, linestyle=":")
        for scaled, (words, colour) in SERIES.items():
            rows = bins[(bins.exit == number) & (bins.scaled == scaled)]
            row = quality[(quality.exit == number) & (quality.scaled == scaled)].iloc[0]
            sizes = 6 + 120 * rows.samples / rows.samples.sum()
            axes.plot(100 * rows.confidence, 100 * rows.accuracy, color=colour, linewidth=1)
            axes.scatter(
                100 * rows.confidence,
                100 * rows.accuracy,
                sizes,
                color=colour,
                label=f"{words} (T = {row.temperature:.2f}): error {row.calibration_error:.3f}",
            )
        plain = quality[(quality.exit == number) & ~quality.scaled].iloc[0]
        axes.set_title(f"exit {number}: AUROC {plain.auroc_entropy:.3f} (entropy)")
        axes.legend(loc="lower right", fontsize=8)
    for axes in places[-1]:
        axes.set_xlabel("confidence (%)")
    for axes in places[:, 0]:
        axes.set_ylabel("accuracy (%)")
    name = tables["experiment"]
    figure.suptitle(f"{name}: accuracy against confidence on test; dots as large as their share")
    return figure


def caption(tables: dict[str, Any]) -> str:
    """Calibration errors before and after, and the AUROC of the exits."""
    quality = tables["quality"]
    plain, scaled = quality[~quality.scaled], quality[quality.scaled]
    before, after = plain.calibration_error.mean(), scaled.calibration_error.mean()
    area = plain.auroc_entropy
    return (
        "A temperature for each exit takes the mean expected calibration error from"
        f" {before:.2%} to {after:.2%}. The entropy tells right from wrong with an area under the"
        f" ROC curve of {area.min():.3f} to {area.max():.3f}, exit by exit."
    )
