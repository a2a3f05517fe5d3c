"""Brief terminal output: a line for each step with its time, warnings and errors.

It replaces Snakemake's own output unless one of the options that choose it (``--quiet``,
``--verbose``, ``--printshellcmds``, ``--debug-dag``, ``-n``) or ``EARLY_EXIT_BRIEF=0`` is set.
Snakemake's log file keeps everything. The jobs' own output (progress bars, errors) and the
headlines are shown as always.

A logger plugin of Snakemake would have to be installed, and named in the profile, by everybody who
runs this workflow; the handler that exists is changed instead.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

# Seconds after which a job that still runs has a line.
LONG = 30
# Printed before the event WORKFLOW_STARTED.
CHATTER = ("Assuming unrestricted shared filesystem usage",)
# A group of jobs with one line: the rule, and the experiment.
Step = tuple[str, str]


def install(logger: logging.Logger, settings: Any, jobs: Callable[[], Iterable[Any]]) -> None:
    """Make Snakemake's terminal handler brief, unless the settings or the environment forbid it.

    Parameters
    ----------
    settings
        Snakemake's ``OutputSettings``.
    jobs
        Returns the jobs of the run; called when they are planned.
    """
    if os.environ.get("EARLY_EXIT_BRIEF") == "0" or _chosen(settings):
        return
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler":
            brief = Brief(handler, jobs, with_errors=settings.show_failed_logs)
            handler.addFilter(brief.shown)
            handler.setFormatter(brief)


def _chosen(settings: Any) -> bool:
    """Whether an option chooses what Snakemake prints."""
    options = ("quiet", "verbose", "printshellcmds", "debug_dag", "dryrun")
    return any(getattr(settings, option) for option in options)


class Brief(logging.Formatter):
    """Formats each step that is done as one line, such as ``3/22 train_network digits 12.1 s``.

    The time of a step with several jobs is the sum of theirs. Nothing is changed before the run
    starts: ``--report``, ``--unlock`` and others print what they always do.
    """

    def __init__(
        self,
        handler: logging.StreamHandler,
        jobs: Callable[[], Iterable[Any]],
        with_errors: bool = False,
    ) -> None:
        super().__init__()
        self._handler, self._other, self._jobs = handler, handler.formatter, jobs
        self._with_errors = with_errors
        self._started = False
        self._steps: dict[int, Step] = {}
        self._since: dict[int, float] = {}
        self._left: Counter[Step] = Counter()
        self._planned: Counter[Step] = Counter()
        self._seconds: Counter[Step] = Counter()
        self._widths = (0, 0)
        self._begin = time.monotonic()

    def shown(self, record: logging.LogRecord) -> bool:
        """Whether a log record of Snakemake is shown; notes when jobs start and end."""
        event = _event(record)
        self._started |= event == "WORKFLOW_STARTED"
        if not self._started:
            return not record.getMessage().startswith(CHATTER)
        if event == "RUN_INFO":
            self._expect(self._jobs())
            return True
        if event == "JOB_INFO":
            self._start(record)
            return False
        if event == "JOB_FINISHED":
            return self._finish(record.job_id)
        if event == "PROGRESS":
            return record.done == record.total
        if event in ("JOB_ERROR", "GROUP_ERROR"):
            # They list every input and output. The job printed the cause; the end repeats it.
            return self._with_errors
        if "CalledProcessError in file" in record.getMessage():
            # That the script of a failed job, a temporary file, did not succeed.
            return False
        nothing = record.getMessage().startswith("Nothing to be done")
        return record.levelno >= logging.WARNING or nothing

    def format(self, record: logging.LogRecord) -> str:
        event = _event(record)
        if not self._started:
            return self._other.format(record)
        if event == "RUN_INFO":
            jobs, steps = self._planned.total(), len(self._planned)
            return f"{_counted(jobs, 'job')} in {_counted(steps, 'step')}"
        if event == "JOB_FINISHED":
            return self._line(self._steps[record.job_id])
        if event == "PROGRESS":
            return f"Done in {_time(time.monotonic() - self._begin)}."
        return self._other.format(record)

    def _expect(self, jobs: Iterable[Any]) -> None:
        """Note the planned jobs, without targets, which have no output."""
        made = [job for job in jobs if job.output]
        self._planned = Counter(
            (job.rule.name, job.wildcards_dict.get("experiment", "")) for job in made
        )
        self._left = self._planned.copy()
        # The longest rule and the longest experiment.
        self._widths = tuple(
            max((len(step[part]) for step in self._planned), default=0) for part in (0, 1)
        )

    def _start(self, record: logging.LogRecord) -> None:
        if not record.output:
            return
        wildcards = dict(record.wildcards or {})
        step = record.rule_name, str(wildcards.pop("experiment", ""))
        self._steps[record.jobid] = step
        self._since[record.jobid] = time.monotonic()
        timer = threading.Timer(LONG, self._note, [record.jobid, [*wildcards.values()]])
        timer.daemon = True
        timer.start()

    def _note(self, job: int, wildcards: list[str]) -> None:
        """Write that a job still runs; jobs with a bar of their own on a terminal do without."""
        if job in self._since and not sys.stderr.isatty():
            words = [", ".join(map(str, wildcards)), "is running"]
            line = " ".join(filter(None, [self._named(self._steps[job]), *words]))
            self._handler.stream.write(f"{'':>7}{line}\n")
            self._handler.flush()

    def _finish(self, job: int) -> bool:
        """Whether the step of a finished job is done with it."""
        if job not in self._since:
            return False
        step = self._steps[job]
        self._seconds[step] += time.monotonic() - self._since.pop(job)
        self._left[step] -= 1
        return self._left[step] <= 0

    def _line(self, step: Step) -> str:
        done = f"{sum(left <= 0 for left in self._left.values()):>3}/{len(self._planned)}"
        jobs = self._planned[step]
        several = f"{jobs} jobs" if jobs > 1 else ""
        line = f"{done:<7}{self._named(step)} {several:>8} {_time(self._seconds[step]):>9}"
        # On a terminal the line overwrites a progress bar, which is drawn again below it.
        return f"\r\033[K{line}" if sys.stderr.isatty() else line

    def _named(self, step: Step) -> str:
        """Rule and experiment, as columns."""
        return "  ".join(f"{part:<{width}}" for part, width in zip(step, self._widths, strict=True))


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _time(seconds: float) -> str:
    """A duration in seconds, or from two minutes on in minutes."""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _event(record: logging.LogRecord) -> str | None:
    """Name of Snakemake's event (LogEvent)."""
    return getattr(getattr(record, "event", None), "name", None)
