import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from early_exit.errors import InputError
from early_exit.io.files import read_json, read_table, replacing, sha256, write_json, write_table


def test_a_failure_keeps_the_previous_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_place_is_made_and_readable_by_others(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    assert path.stat().st_mode & 0o044 == 0o044
    assert list(path.parent.iterdir()) == [path]


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe"])
def test_unreadable_json_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json"):
        read_json(path)


def test_a_table_keeps_nine_digits(tmp_path):
    path = tmp_path / "a.csv"
    write_table(path, pd.DataFrame({"x": [1 / 3], "y": [float("-inf")]}))
    table = read_table(path, ["x", "y"])
    assert table.x[0] == pytest.approx(1 / 3, rel=1e-8)
    assert table.y[0] == float("-inf")
    with pytest.raises(InputError, match=r"a\.csv: lacks the columns \['z'\]"):
        read_table(path, ["z"])


def test_sha256(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert sha256(path).startswith("ba7816bf8f01cfea")


# What a user may have beside an output: hidden files, such as look like what is half-written, and
# names that are patterns to a shell.
BESIDE = (
    *(".new-ideas.txt", ".new-", ".new-abcd1234", ".new", "new-", ".a.json-notes.json"),
    *(".early-exit-tmp", ".early-exit-tmp-", ".early-exit-tmp-mine.txt", ".early-exit-new-1"),
)


@pytest.mark.parametrize("name", ["new", "a.json", "[n]ew", "*", "n?w.csv", ".new"])
def test_nothing_of_the_users_is_deleted(tmp_path, name):
    for own in set(BESIDE) - {name}:
        (tmp_path / own).write_text("of the user's")
    (tmp_path / ".new-folder").mkdir()
    before = {path.name for path in tmp_path.iterdir()}
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("new")
    assert {path.name for path in tmp_path.iterdir()} == before | {name}
    assert (tmp_path / name).read_text() == "new"


KILLED = """
import os, sys
from early_exit.io.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("name", ["a.json", "[a]", "*", "n" * 200, ".hidden"])
def test_what_a_killed_job_left_is_cleaned_by_the_next(tmp_path, name):
    path = tmp_path / name
    scripts = Path(__file__).parents[3] / "scripts"
    command = [sys.executable, "-c", KILLED, str(path)]
    assert subprocess.run(command, env={"PYTHONPATH": str(scripts)}).returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    with replacing(tmp_path / "other") as temporary:
        temporary.write_text("of another output, which is none of its business")
    assert len(list(tmp_path.iterdir())) == 2
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert {own.name for own in tmp_path.iterdir()} == {name, "other"}


def test_what_is_still_written_is_not_deleted(tmp_path):
    """As by two runs that note the same checksums."""
    path = tmp_path / "a.json"
    with replacing(path) as one:
        one.write_text("one")
        with replacing(path) as other:
            other.write_text("other")
        assert one.exists()
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_is_named_as_the_user_knows_it(tmp_path):
    path = tmp_path / "policy.json"
    path.mkdir()
    with pytest.raises(OSError, match=r"policy\.json") as error:
        write_json(path, {})
    assert error.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_is_what_users_of_pandas_expect(tmp_path):
    """No technical column: nothing is lost to `dropna`, and duplicates are found."""
    table = pd.DataFrame({"name": ["a", "a", "C#", "007"], "value": [0.5, 0.5, 0.25, 1.0]})
    write_table(tmp_path / "t.csv", table, {"network": "n", "split": "test"})
    read = pd.read_csv(tmp_path / "t.csv", comment="#", dtype={"name": str})
    pd.testing.assert_frame_equal(read, table)
    assert len(read.dropna()) == 4
    assert len(read.drop_duplicates()) == 3
    own = read_table(tmp_path / "t.csv", ["name", "value"])
    assert own.attrs["provenance"] == {"network": "n", "split": "test"}
