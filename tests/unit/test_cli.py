"""The command line without a network: help, labels, folders, what is told and skipped."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from early_exit import cli
from early_exit.cli.experiment import read_experiment
from early_exit.cli.labels import labels_of
from early_exit.cli.pictures import Reader, find
from early_exit.errors import InputError
from early_exit.files import write_json
from early_exit.policy import ExitRule, Policy
from early_exit.records import UNKNOWN

SCRIPT = Path(__file__).parents[2] / "scripts/early-exit"
CLASSES = ["cat", "dog", "7"]


def picture(path: Path, value: int = 9) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path)
    return str(path)


@pytest.mark.parametrize("command", [[], *([name] for name in cli.COMMANDS)])
def test_help_imports_no_torch(command):
    code = (
        "import runpy, sys\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print('HEAVY', sorted({'torch', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    program = f"import sys; sys.argv = [{str(SCRIPT)!r}, *{command!r}, '--help']\n{code}"
    done = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "usage: early-exit" in done.stdout
    assert "HEAVY []" in done.stdout
    assert not command or "exit status: 0" in done.stdout


def test_the_script_runs_from_anywhere(tmp_path):
    """Its own folder comes first, whatever else is called early_exit."""
    (tmp_path / "early_exit").mkdir()
    (tmp_path / "early_exit/__init__.py").write_text("raise SystemExit('the wrong one')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [SCRIPT, "--version"], text=True, capture_output=True, env=environment, cwd=tmp_path
    )
    assert done.stdout.startswith("early-exit "), done.stderr


def test_make_puts_the_command_into_the_environment(tmp_path):
    venv = tmp_path / "env"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(sys.executable)
    (venv / ".installed").touch()
    command = ["make", "-C", SCRIPT.parent.parent, "command", f"VENV={venv}"]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    path = f"{venv}/bin{os.pathsep}{os.environ['PATH']}"
    shown = subprocess.run(
        ["early-exit", "--version"], text=True, capture_output=True, env=os.environ | {"PATH": path}
    )
    assert shown.stdout.startswith("early-exit "), shown.stderr


@pytest.mark.parametrize(
    "arguments",
    [["predict"], ["predict", "a.png"], ["predict", "a.png", "--policy", "p", "--batch-size", "0"]],
)
def test_a_wrong_call_is_told(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == cli.NOTHING_DONE
    assert "usage: early-exit predict" in capsys.readouterr().err


def test_a_policy_that_is_none_is_told(tmp_path, capsys):
    for name, content, message in [
        ("gone.json", None, "there is no such file"),
        ("text.json", "hello", "no readable JSON"),
        ("other.json", "{}", "seal"),
    ]:
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        assert cli.main(["predict", "a.png", "--policy", str(path)]) == cli.NOTHING_DONE
        told = capsys.readouterr().err
        assert told.startswith(f"early-exit: {path}: ")
        assert message in told
        assert told.count("\n") == 1


def test_a_policy_without_its_experiment_is_told(tmp_path, capsys):
    policy = {"measure": "entropy", "exit_rule": "below", "thresholds": [0.5]}
    path = tmp_path / "selection/policy.json"
    write_json(path, {"policy": policy, "identity": {"network": "n", "data": "d"}})
    assert cli.main(["predict", "a.png", "--policy", str(path)]) == cli.NOTHING_DONE
    told = capsys.readouterr().err
    assert f"{tmp_path}/data/manifest.json: missing" in told
    assert "keep the experiment's folder together" in told


def test_folders_are_walked_in_order_without_what_is_hidden(tmp_path):
    names = ["b.png", "a/2.png", "a/10.png", "c/d/e.png"]
    expected = [str(tmp_path / name) for name in ("a/10.png", "a/2.png", "b.png", "c/d/e.png")]
    for name in [*names, ".hidden.png", ".git/x.png"]:
        picture(tmp_path / name)
    (tmp_path / "round").symlink_to(tmp_path)
    assert find([str(tmp_path)]) == expected
    assert find(["-", expected[2], "gone.png"]) == ["-", expected[2], "gone.png"]


def test_a_bad_picture_is_told_and_skipped(tmp_path, capsys):
    good = [picture(tmp_path / f"{n}.png", n) for n in range(5)]
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    names = [*good[:3], str(bad), *good[3:], "gone.png"]
    reader = Reader([3, 4, 4], 2)
    batches = list(reader.batches(names))
    assert [places for places, _ in batches] == [[0, 1], [2, 4], [5]]
    assert [int(images[0].mean()) for _, images in batches] == [0, 2, 4]
    assert (reader.good, reader.bad, reader.status) == (5, 2, cli.SOME_BAD)
    told = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in told] == [str(bad), "gone.png"]


def test_the_status_says_how_it_went(tmp_path, capsys):
    everything = Reader([3, 4, 4], 2)
    list(everything.batches([picture(tmp_path / "a.png")]))
    assert everything.status == cli.FINE
    nothing = Reader([3, 4, 4], 2)
    assert list(nothing.batches(["gone.png"])) == []
    assert nothing.status == cli.NOTHING_DONE
    assert Reader([3, 4, 4], 2).status == cli.NOTHING_DONE
    assert "no pictures there" in capsys.readouterr().err


def test_a_policy_is_found_from_within_its_folder(tmp_path, monkeypatch):
    policy = Policy("entropy", ExitRule.BELOW, (0.5,)).to_json()
    write_json(tmp_path / "selection/policy.json", {"policy": policy, "identity": {}})
    (tmp_path / "data").mkdir()
    (tmp_path / "data/manifest.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "selection")
    found = read_experiment("policy.json").beside("data", "manifest.json")
    assert found.samefile(tmp_path / "data/manifest.json")


def test_the_label_of_a_linked_picture_is_the_links_folder(tmp_path, monkeypatch):
    original = picture(tmp_path / "originals/1.png")
    for place in ("cat/1.png", "dog/1.png"):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).symlink_to(original)
    monkeypatch.chdir(tmp_path / "cat")
    names = [str(tmp_path / "cat/1.png"), "1.png", "../dog/1.png", "../cat/../dog/1.png"]
    assert labels_of(names, "folders", CLASSES) == [0, 0, 1, 1]
    (tmp_path / "cat/more").mkdir()
    monkeypatch.chdir(tmp_path / "cat/more")
    assert labels_of(["../1.png"], "folders", CLASSES) == [0]


def test_a_table_that_has_none_of_the_pictures_is_refused(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("picture,label\nelsewhere/1.png,cat\n")
    with pytest.raises(InputError, match=r"labels\.csv: has a label of none of the 2 pictures"):
        labels_of(["1.png", "2.png"], str(table), CLASSES)
    assert labels_of([], str(table), CLASSES) == []


def test_labels_by_table_and_by_folder(tmp_path):
    names = [picture(tmp_path / name) for name in ("cat/1.png", "dog/2.png", "7/3.png")]
    assert labels_of(names, None, CLASSES) == [UNKNOWN] * 3
    assert labels_of(names, "folders", CLASSES) == [0, 1, 2]
    table = tmp_path / "labels.csv"
    # A name before a number: the class 7 is the last one. 1 is a number.
    table.write_text(f"picture,label,by\ncat/1.png,7,me\n{names[1]},1,me\n")
    assert labels_of(names, str(table), CLASSES) == [2, 1, UNKNOWN]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,label\na.png,bird\n", "a.png: 'bird' is no class; these are: cat, dog, 7"),
        ("picture,label\na.png,3\n", "'3' is no class"),
        ("picture,class\na.png,cat\n", "needs the columns picture and label"),
        ("picture,label\n", "needs the columns"),
        ("label,picture\ncat\n", "line 2 names no picture"),
        ("picture,label\na.png\n", "'' is no class"),
        (None, "No such file"),
    ],
)
def test_labels_that_are_none_are_named(tmp_path, text, message):
    table = tmp_path / "labels.csv"
    if text is not None:
        table.write_text(text)
    with pytest.raises(InputError) as error:
        labels_of(["a.png"], str(table), CLASSES)
    assert message in str(error.value)
    assert "labels.csv" in str(error.value)


def test_a_folder_that_is_no_class_is_named(tmp_path):
    with pytest.raises(InputError, match="'bird' is no class"):
        labels_of([picture(tmp_path / "bird/1.png")], "folders", CLASSES)
