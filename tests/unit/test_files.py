import pandas as pd
import pytest

from early_exit.errors import InputError
from early_exit.files import read_json, read_table, replacing, sha256, write_json, write_table


def test_a_failure_leaves_what_was_there(tmp_path):
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
