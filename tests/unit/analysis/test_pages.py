"""Pages of the report."""

import base64
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from drawn import tables_of
from early_exit.analysis import pages

HOSTILE = "<img onerror=alert(1)>"


@pytest.fixture(scope="module")
def made():
    names = ("ant", HOSTILE, "cow", "dog")
    return tables_of(names=names, experiment=HOSTILE, doubt="do not trust these times: busy")


@pytest.fixture(scope="module")
def overview(made):
    return pages.overview(made["summary"], made["per_exit"], made["points"], made["per_class"])


class Balanced(HTMLParser):
    """Checks that tags are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_overview_opens_on_the_result(made, overview):
    own = made["summary"]["selected"]
    first = overview.split(pages.LANDING)[1]
    assert f"{own['accuracy']:.2%} accurate on 60 test samples" in first
    assert "M MACs a sample" in first
    assert first.index("MACs") < first.index("Time per sample, measured, in doubt: ")
    assert "In doubt: do not trust these times" in first
    assert "What was promised" in first
    assert "at most 70 % of MACs" in first
    assert first.count("<tr>") == 4
    assert Balanced(overview).open == []
    assert Balanced(first).open == []


def test_times_without_a_doubt_are_not_said_to_be_in_doubt(made):
    summary = made["summary"] | {"doubt": "the splits differ"}
    assert "Time per sample, measured: " in pages.headline(summary)


def test_names_are_escaped(overview):
    assert "<img" not in overview
    assert "&lt;img onerror=alert(1)&gt;" in overview


def test_all_policies_and_classes_are_shown(made, overview):
    rest = overview.split(pages.LANDING)[2]
    assert rest.count("<tr") == 2 + len(made["points"]) + 4
    assert rest.count('class="chosen"') == 1


def test_a_policy_that_no_one_found_is_named(made):
    points = made["points"].copy()
    points.loc[0, ["accuracy", "macs", "ms_per_sample"]] = float("nan")
    table, _ = pages.policies(points, made["summary"])
    assert table["accuracy (%)"][0] == "no policy"


def test_a_table_holds_its_file():
    content = b"# a comment\na,b\n1,2.5\n"
    text = pages.table_page("A <title>", "own.csv", pd.DataFrame({"a": [1], "b": [2.5]}), content)
    assert "A &lt;title&gt;" in text
    held = re.search(r'download="own.csv" href="data:text/csv;base64,([^"]*)"', text)[1]
    assert base64.b64decode(held) == content
    assert "<td>2.5</td>" in text
    assert Balanced(text).open == []


def test_a_long_table_says_that_it_is_cut():
    long = pd.DataFrame({"a": range(pages.MOST_ROWS + 1)})
    assert f"The first {pages.MOST_ROWS:,} of" in pages.table_page("long", "a.csv", long, b"")
