"""Lines that the workflow prints: notes at the start of a run, results and failures at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from early_exit.analysis.headline import headline
from early_exit.errors import InputError
from early_exit.io.files import read_json

# Inputs of a summary, relative to its folder. Not operating_points.csv, which may be written after
# the summary.
SOURCES = (
    "network/network.safetensors",
    "exits/calibration.parquet",
    "exits/test.parquet",
    "cost/cost.*",
    "calibration/*.csv",
    "selection/policy.json",
    "evaluation/evaluation.json",
)
KILLED = (
    "the job was killed, most likely because memory ran out; run again with fewer --cores, so that"
    " fewer jobs run at once, with smaller batches (batch_size), or on a machine with more memory;"
    " on a cluster raise mem_mb of the rule in the profile (set-resources)"
)


def without_logits(experiment: str, awaited: bool) -> str:
    """Note that an experiment on external records is run without the steps that need logits.

    Parameters
    ----------
    awaited
        Whether the records do not exist yet, so that their columns are unknown.
    """
    why = (
        "its records do not exist yet, so it is unknown whether they contain logits; run again when"
        " they do"
        if awaited
        else "its records contain no logits"
    )
    return (
        f"{experiment}: {why}: reliability, temperatures and measures that need them are left out"
    )


def headlines(summaries: Mapping[str, Path]) -> Iterator[str]:
    """The headline of each experiment with an up-to-date summary.

    Parameters
    ----------
    summaries
        Path of ``summary.json`` by experiment. A damaged one gives an error message, not a
        headline.
    """
    for name, path in summaries.items():
        if path.exists() and not outdated(path):
            try:
                yield from headline(read_json(path, ["selected", "full_network"]), path.parent)
            except InputError as error:
                yield f"{name}: {error}"
    yield from places(summaries.values())


def places(summaries: Iterable[Path]) -> Iterator[str]:
    """Lines with the paths of summaries, figures and explorers that are up to date."""
    current = [path for path in summaries if path.exists() and not outdated(path)]
    figures = [path.with_name("figures") for path in current if _newer(path, "figures/*.svg")]
    pages = [path.with_name("explorer.html") for path in current if _newer(path, "explorer.html")]
    if current:
        yield f"Summary: {' '.join(map(str, current))}"
    if figures:
        yield f"Figures: {' '.join(f'{path}/' for path in figures)}"
    if pages:
        yield f"Open in a browser: {' '.join(map(str, pages))}"


def _newer(summary: Path, pattern: str) -> bool:
    """Whether a file beside a summary was made after it."""
    made = summary.stat().st_mtime
    return any(path.stat().st_mtime >= made for path in summary.parent.glob(pattern))


def outdated(summary: Path) -> bool:
    """Whether an input of a summary is newer than the summary, as after running one step."""
    made = summary.stat().st_mtime
    files = [file for source in SOURCES for file in summary.parent.glob(source)]
    return any(file.stat().st_mtime > made for file in files)


def failures(logs: Iterable[Path], reported: str, remote: bool) -> Iterator[str]:
    """A line for each failed job: the reason, and the path of its traceback.

    Parameters
    ----------
    logs
        The logs of the run's jobs.
    reported
        Snakemake's own log, which shows whether a job was killed.
    remote
        Whether jobs ran on other machines, of which Snakemake does not log how they ended.
    """
    killed = remote or "<Signals.SIGKILL" in reported or "exit status 137" in reported
    for path in logs:
        text = path.read_text(errors="replace")
        stopped = [line for line in text.splitlines() if " Stopped: " in line]
        for line in stopped[-1:]:
            yield f"stopped: {line.partition(' Stopped: ')[2]} (traceback: {path})"
        # A job that ends by itself, in success or failure, writes one of these last.
        ended = stopped or "Packages used: " in text or "This is a fault of the workflow" in text
        if killed and not ended and f"{path} (check log" in reported:
            yield f"stopped: {path} ends in the middle: {KILLED}"
