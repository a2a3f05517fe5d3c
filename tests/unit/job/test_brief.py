"""The brief output of a run."""

import io
import logging
from enum import Enum
from types import SimpleNamespace

import pytest

from job import brief

Event = Enum(
    "Event", ["WORKFLOW_STARTED", "RUN_INFO", "JOB_INFO", "JOB_FINISHED", "JOB_ERROR", "PROGRESS"]
)
OPTIONS = ("quiet", "verbose", "printshellcmds", "debug_dag", "dryrun", "show_failed_logs")
PLANNED = [
    ("train_network", {"experiment": "digits"}, ["network"]),
    ("find_frontier", {"experiment": "digits", "method": "uniform"}, ["points"]),
    ("find_frontier", {"experiment": "digits", "method": "coordinate"}, ["points"]),
    ("find_frontier", {"experiment": "other", "method": "uniform"}, ["points"]),
    ("all", {}, []),
]


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def make(stream, monkeypatch):
    """Makes a logger with a handler such as Snakemake's, brief with these options."""
    monkeypatch.delenv("EARLY_EXIT_BRIEF", raising=False)
    monkeypatch.setattr(brief.time, "monotonic", iter(range(100)).__next__)

    def logger_with(**options):
        logger = logging.Logger("snakemake", logging.INFO)
        handler = logging.StreamHandler(stream)
        handler.name = "DefaultStreamHandler"
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        settings = SimpleNamespace(**(dict.fromkeys(OPTIONS, False) | options))
        jobs = [
            SimpleNamespace(rule=SimpleNamespace(name=rule), wildcards_dict=wildcards, output=made)
            for rule, wildcards, made in PLANNED
        ]
        brief.install(logger, settings, lambda: jobs)
        return logger

    return logger_with


def begin(logger):
    logger.info("SNAKEMAKE", extra={"event": Event.WORKFLOW_STARTED})
    logger.info("a table", extra={"event": Event.RUN_INFO, "stats": {"total": len(PLANNED)}})


def start(logger, job):
    rule, wildcards, output = PLANNED[job]
    more = {"rule_name": rule, "output": output, "wildcards": wildcards, "jobid": job}
    logger.info("Rule: ...", extra={"event": Event.JOB_INFO, **more})


def finish(logger, job):
    logger.info("Finished jobid", extra={"event": Event.JOB_FINISHED, "job_id": job})
    more = {"done": job + 1, "total": len(PLANNED)}
    logger.info(None, extra={"event": Event.PROGRESS, **more})


def test_a_line_for_each_step_with_the_time_of_its_jobs(make, stream):
    logger = make()
    begin(logger)
    logger.info("Select jobs to execute...")
    for job in range(len(PLANNED)):
        start(logger, job)
        finish(logger, job)
    # The clock counts its own readings: each job takes one second.
    assert stream.getvalue().splitlines() == [
        "4 jobs in 3 steps",
        "  1/3  train_network  digits              1.0 s",
        "  2/3  find_frontier  digits   2 jobs     2.0 s",
        "  3/3  find_frontier  other               1.0 s",
        "Done in 9.0 s.",
    ]


def test_what_is_wrong_is_shown(make, stream):
    logger = make()
    begin(logger)
    start(logger, 0)
    logger.error("inputs and outputs", extra={"event": Event.JOB_ERROR})
    logger.error("RuleException:\nCalledProcessError in file rules/selection.smk, line 41: ...")
    logger.error("Missing input files")
    assert stream.getvalue().splitlines() == ["4 jobs in 3 steps", "Missing input files"]


def test_logs_of_failed_jobs_are_shown_on_request(make, stream):
    logger = make(show_failed_logs=True)
    begin(logger)
    logger.error("inputs and outputs", extra={"event": Event.JOB_ERROR})
    assert "inputs and outputs" in stream.getvalue()


def test_nothing_to_be_done_is_shown(make, stream):
    logger = make()
    begin(logger)
    logger.info("Nothing to be done (all requested files are present and up to date).")
    assert "Nothing to be done" in stream.getvalue()


def test_without_a_run_nothing_is_left_out(make, stream):
    make().info("Unlocked working directory.")
    assert stream.getvalue() == "Unlocked working directory.\n"


def test_a_job_that_takes_long_has_a_line_where_there_are_no_progress_bars(
    make, stream, monkeypatch
):
    monkeypatch.setattr(brief, "LONG", 0)
    logger = make()
    begin(logger)
    start(logger, 1)
    for thread in brief.threading.enumerate():
        if getattr(thread, "interval", None) == 0:
            thread.join()
    assert stream.getvalue().splitlines()[1:] == ["       find_frontier  digits uniform is running"]


@pytest.mark.parametrize(
    "option", [{"quiet": {"rules"}}, {"verbose": True}, {"printshellcmds": True}, {"dryrun": True}]
)
def test_options_that_choose_the_output_keep_it(make, stream, option):
    begin(make(**option))
    assert stream.getvalue().splitlines() == ["SNAKEMAKE", "a table"]


def test_the_environment_chooses_snakemake_s_own_output(make, stream, monkeypatch):
    monkeypatch.setenv("EARLY_EXIT_BRIEF", "0")
    begin(make())
    assert stream.getvalue().splitlines() == ["SNAKEMAKE", "a table"]
