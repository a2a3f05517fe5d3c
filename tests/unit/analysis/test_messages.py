"""The lines that the workflow prints at the start and end of a run."""

import os
from pathlib import Path

import pytest

from early_exit.analysis.headline import headline
from early_exit.analysis.messages import failures, headlines, outdated, without_logits
from early_exit.analysis.times import TIMES_DOUBTED
from early_exit.io.files import write_json

SUMMARY = {
    "experiment": "new",
    "simulated": False,
    "doubt": None,
    "selected": {"accuracy": 0.9, "macs": 1e6, "speedup": 2.0},
    "full_network": {"accuracy": 0.95, "macs": 2e6},
}


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Paths of summaries by experiment, with their inputs beside them."""
    monkeypatch.chdir(tmp_path)
    found = {name: Path("results", name, "summary.json") for name in ("old", "new", "damaged")}
    for path in found.values():
        write_json(path.with_name("selection") / "policy.json", {})
        write_json(path, SUMMARY)
    return found


def test_only_up_to_date_summaries_have_headlines(results):
    os.utime(results["old"], (1e9, 1e9))
    results["damaged"].write_text('{"selected"')
    new, damaged, places = headlines(results | {"none": Path("results/none/summary.json")})
    assert new == (
        "new: 90.00% accurate (the full network: 95.00%) at 1.00 of 2.00 M MACs (50.0%), 2.00 times"
        " as fast. See results/new/"
    )
    assert damaged.startswith("damaged: results/damaged/summary.json: cannot be read as JSON")
    assert places == "Summary: results/new/summary.json results/damaged/summary.json"


def test_the_last_lines_name_figures_and_explorers_made_after_the_summary(results):
    new, old = results["new"], results["old"]
    for summary in (new, old):
        for file in ("figures/frontier.svg", "explorer.html"):
            summary.with_name("figures").mkdir(exist_ok=True)
            summary.parent.joinpath(file).touch()
            os.utime(summary.parent / file, (1e9, 1e9) if summary == old else (4e9, 4e9))
    *_, figures, page = headlines({"new": new, "old": old})
    assert figures == "Figures: results/new/figures/"
    assert page == "Open in a browser: results/new/explorer.html"


def test_a_speed_up_in_doubt_is_said_to_be_in_doubt():
    summary = SUMMARY | {"doubt": f"{TIMES_DOUBTED}: all"}
    first, second = headline(summary, "results/new")
    assert "(50.0%), measured 2.00 times as fast, which is in doubt. See" in first
    assert second == f"new: doubtful: {TIMES_DOUBTED}: all"
    first, _ = headline(SUMMARY | {"doubt": "the splits differ"}, "results/new")
    assert "(50.0%), 2.00 times as fast. See" in first


def test_a_network_whose_operations_are_not_counted_has_a_headline():
    nothing = {name: SUMMARY[name] | {"macs": 0} for name in ("selected", "full_network")}
    (line,) = headline(SUMMARY | nothing, "results/new")
    assert "at 0.00 of 0.00 MACs, 2.00 times as fast" in line


def test_newer_operating_points_do_not_outdate_a_summary(results):
    own = results["new"]
    points = own.with_name("evaluation") / "operating_points.csv"
    points.parent.mkdir()
    points.touch()
    os.utime(points, (4e9, 4e9))
    assert not outdated(own)
    policy = own.with_name("selection") / "policy.json"
    os.utime(policy, (4e9, 4e9))
    assert outdated(own)


def test_the_line_of_a_failed_job_has_its_last_message(tmp_path):
    log = tmp_path / "exits.log"
    log.write_text("12:00 Stopped: a: first; x\n12:01 Stopped: b.csv: damaged; delete it\ntrace\n")
    (line,) = failures([log], "", remote=False)
    assert line == f"stopped: b.csv: damaged; delete it (traceback: {log})"


@pytest.mark.parametrize(
    ("text", "reported", "remote", "lines"),
    [
        ("begun", "{} (check log) died with <Signals.SIGKILL: 9>", False, True),
        ("begun", "{} (check log), exit status 137", False, True),
        ("begun", "{} (check log)", True, True),
        ("begun", "{} (check log)", False, False),
        ("begun", "<Signals.SIGKILL: 9>", True, False),
        ("Packages used: none", "{} (check log) <Signals.SIGKILL", True, False),
        ("This is a fault of the workflow, not", "{} (check log) <Signals.SIGKILL", True, False),
    ],
)
def test_a_killed_job_has_a_log_that_ends_in_the_middle(tmp_path, text, reported, remote, lines):
    log = tmp_path / "exits.log"
    log.write_text(text)
    found = [*failures([log], reported.format(log), remote)]
    assert len(found) == lines
    assert all(f"{log} ends in the middle: the job was killed" in line for line in found)


def test_the_note_on_missing_logits():
    assert without_logits("mine", awaited=False).startswith("mine: its records contain no logits: ")
    assert "do not exist yet" in without_logits("mine", awaited=True)
