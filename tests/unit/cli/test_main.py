"""The command line without a network: help, folders, messages, skipped images."""

import argparse
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from early_exit.cli import main as cli
from early_exit.cli.experiment import read_experiment
from early_exit.cli.images import Reader, find
from early_exit.cli.options import add_inputs
from early_exit.io.files import write_json
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy, full_network
from helpers import SmallNetwork

SCRIPT = Path(__file__).parents[3] / "scripts/early-exit"


def image(path: Path, value: int = 9) -> str:
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


def test_a_command_without_torch_names_the_extra_that_has_it(monkeypatch, capsys):
    def run(options):
        raise ModuleNotFoundError(name="torch")

    monkeypatch.setattr("early_exit.cli.predict.run", run)
    assert cli.main(["predict", "a.png", "--policy", "p.json"]) == cli.NOTHING_DONE
    assert "needs the package torch; in a clone of the project: pip install '.[torch]'" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "arguments",
    [["predict"], ["predict", "a.png"], ["predict", "a.png", "--policy", "p", "--batch-size", "0"]],
)
def test_a_wrong_call_is_reported(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == cli.NOTHING_DONE
    assert "usage: early-exit predict" in capsys.readouterr().err


def test_an_invalid_policy_is_reported(tmp_path, capsys):
    for name, content, message in [
        ("gone.json", None, "there is no such file"),
        ("text.json", "hello", "cannot be read as JSON"),
        ("other.json", "{}", "checksum"),
    ]:
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        assert cli.main(["predict", "a.png", "--policy", str(path)]) == cli.NOTHING_DONE
        told = capsys.readouterr().err
        assert told.startswith(f"early-exit: {path}: ")
        assert message in told
        assert told.count("\n") == 1


def test_messages_are_one_line_whatever_the_name(tmp_path, capsys):
    name = str(tmp_path / "policy\nearly-exit: all fine\x1b[2J.json")
    assert cli.main(["predict", "a.png", "--policy", name]) == cli.NOTHING_DONE
    (told,) = capsys.readouterr().err.splitlines()
    assert told.isprintable()
    assert r"policy\nearly-exit" in told


def test_a_policy_without_its_experiment_is_reported(tmp_path, capsys):
    policy = {"measure": "entropy", "exit_rule": "below", "thresholds": [0.5]}
    path = tmp_path / "selection/policy.json"
    write_json(path, {"policy": policy, "identity": {"network": "n", "data": "d"}})
    assert cli.main(["predict", "a.png", "--policy", str(path)]) == cli.NOTHING_DONE
    told = capsys.readouterr().err
    assert f"{tmp_path}/data/manifest.json: missing" in told
    assert "keep the files of the experiment together" in told


def test_folders_are_walked_in_order_without_hidden_files(tmp_path):
    names = ["b.png", "a/2.png", "a/10.png", "c/d/e.png"]
    expected = [str(tmp_path / name) for name in ("a/10.png", "a/2.png", "b.png", "c/d/e.png")]
    for name in [*names, ".hidden.png", ".git/x.png"]:
        image(tmp_path / name)
    (tmp_path / "round").symlink_to(tmp_path)
    assert find([str(tmp_path)]) == expected
    assert find(["-", expected[2], "gone.png"]) == ["-", expected[2], "gone.png"]


def test_a_bad_image_is_reported_and_skipped(tmp_path, capsys):
    good = [image(tmp_path / f"{n}.png", n) for n in range(5)]
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    names = [*good[:3], str(bad), *good[3:], "gone.png"]
    reader = Reader([3, 4, 4], names, 2)
    batches = list(reader.batches())
    assert [places for places, _ in batches] == [[0, 1], [2, 4], [5]]
    assert [int(images[0].mean()) for _, images in batches] == [0, 2, 4]
    assert (reader.good, reader.bad, reader.status) == (5, 2, cli.SOME_BAD)
    told = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in told] == [str(bad), "gone.png"]


def test_exit_statuses_of_a_reader(tmp_path, capsys):
    everything = Reader([3, 4, 4], [image(tmp_path / "a.png")], 2)
    list(everything.batches())
    assert everything.status == cli.FINE
    nothing = Reader([3, 4, 4], ["gone.png"], 2)
    assert list(nothing.batches()) == []
    assert nothing.status == cli.NOTHING_DONE
    assert Reader([3, 4, 4], [], 2).status == cli.NOTHING_DONE
    assert "found no images" in capsys.readouterr().err


def test_a_policy_is_found_from_within_its_folder(tmp_path, monkeypatch):
    policy = Policy(ExitCriterion(), (0.5,)).to_json()
    write_json(tmp_path / "selection/policy.json", {"policy": policy, "identity": {}})
    (tmp_path / "data").mkdir()
    (tmp_path / "data/manifest.json").write_text("{}")
    monkeypatch.chdir(tmp_path / "selection")
    found = read_experiment("policy.json").beside("data", "manifest.json")
    assert found.samefile(tmp_path / "data/manifest.json")


def test_each_exit_status_has_one_meaning():
    """1 is none of them: Python itself ends with it on a fault of the program."""
    statuses = (cli.FINE, cli.NOTHING_DONE, cli.DRIFT, cli.SOME_BAD)
    assert len({*statuses, 1}) == 5
    # As argparse ends on a wrong call, and as the page has them.
    assert cli.NOTHING_DONE == 2
    page = (SCRIPT.parents[1] / "docs/deployment.md").read_text()
    for status in (*statuses, 1):
        assert f"\n| {status} | " in page
    for name, own in (
        ("predict", "0 2 4"),
        ("record", "0 2 4"),
        ("check", "0 2 3"),
        ("recalibrate", "0 2"),
        ("policy", "0 2"),
        ("explore", "0 2"),
    ):
        (line,) = [
            line
            for line in __import__(
                f"early_exit.cli.{name}", fromlist=["EPILOG"]
            ).EPILOG.splitlines()
            if line.startswith("exit status:")
        ]
        assert [word for word in line.split() if word.isdecimal()] == own.split()


def test_other_file_types_are_reported_and_skipped(tmp_path, capsys):
    """Nothing of a folder is waited for, and nothing behind it is lost."""
    for name in ("a.png", "z.png"):
        image(tmp_path / name)
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("nowhere.png")
    (tmp_path / "d.png").touch()
    (tmp_path / "e.png").symlink_to("e.png")
    (tmp_path / "f.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "g.png"))
        reader = Reader([3, 4, 4], find([str(tmp_path)]), 8)
        ((places, images),) = reader.batches()
    assert (places, len(images)) == ([0, 7], 2)
    told = capsys.readouterr().err.splitlines()
    for line, word in zip(
        told,
        ["a pipe", "No such file", "empty", "symbolic links", "a device", "a socket"],
        strict=True,
    ):
        assert word in line


def test_an_unreadable_folder_is_reported(tmp_path, monkeypatch, capsys):
    image(tmp_path / "a/1.png")
    image(tmp_path / "b/1.png")
    inside = Path.iterdir

    def refused(path):
        if path.name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return inside(path)

    monkeypatch.setattr(Path, "iterdir", refused)
    reader = Reader([3, 4, 4], find([str(tmp_path)]), 8)
    ((places, _),) = reader.batches()
    assert (places, reader.bad) == ([1], 1)
    assert f"early-exit: {tmp_path}/a: " in capsys.readouterr().err


def test_folders_may_be_deep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(1500):
        Path("d").mkdir()
        os.chdir("d")
    Image.new("L", (4, 4)).save("x.png")
    os.chdir(tmp_path)
    assert [len(name) for name in find(["d"])] == [1500 * 2 + 5]
    # pytest's own way of taking it away would go as deep.
    subprocess.run(["rm", "-r", "d"], check=True)


def test_an_empty_name_is_not_the_working_folder(tmp_path, monkeypatch, capsys):
    """As of `predict "$UNSET"`."""
    image(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    reader = Reader([3, 4, 4], find([""]), 8)
    assert list(reader.batches()) == []
    assert capsys.readouterr().err.startswith("early-exit: '': no image that can be read")


def test_the_limit_of_pixels_is_an_option(tmp_path, capsys):
    path = tmp_path / "a.png"
    Image.new("L", (20, 20)).save(path)
    parser = argparse.ArgumentParser()
    add_inputs(parser)
    for pixels, status in (("400", cli.FINE), ("399", cli.NOTHING_DONE)):
        options = parser.parse_args([str(path), "--max-pixels", pixels])
        reader = Reader([3, 4, 4], [str(path)], 8, options.max_pixels)
        list(reader.batches())
        assert reader.status == status
    assert "raise max_pixels" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parser.parse_args([str(path), "--max-pixels", "200000000"])
    assert "is more than 178956970, Pillow's limit" in capsys.readouterr().err


@dataclass
class Stub:
    """An experiment of a small network, without files."""

    policy: Policy
    origin: tuple = ("policy.json", {})

    def manifest(self) -> dict:
        return {"dataset": "digits", "shape": [3, 2, 2], "class_names": ["a", "b\x1b[2J", "c", "d"]}


@pytest.fixture
def small_predict(monkeypatch):
    """`predict` with a network whose constructor prints, in every way that there is."""

    def load(*_):
        from early_exit.inference.engine import Engine

        print("hello from the constructor")
        os.write(1, b"hello from a descriptor\n")
        subprocess.run(["echo", "hello from a program"], check=True)
        return SmallNetwork().eval(), Engine("cpu")

    monkeypatch.setattr(
        "early_exit.cli.experiment.read_experiment",
        lambda _: Stub(full_network(ExitCriterion(), 3)),
    )
    monkeypatch.setattr("early_exit.cli.running.load", load)


def test_json_lines_are_alone_on_standard_output(small_predict, tmp_path):
    """In a process of its own: what is written past Python is seen there alone."""
    names = [image(tmp_path / name) for name in ("a.png", "b\nc.png", "d\udcff.png")]
    program = f"""
import sys
sys.path[:0] = {[str(SCRIPT.parent), str(Path(__file__).parent), str(Path(__file__).parents[2])]!r}
import ctypes
import test_main
from early_exit.cli import main as cli
class Patch:
    def setattr(self, name, value):
        place, _, attribute = name.rpartition(".")
        setattr(__import__(place, fromlist=["x"]), attribute, value)
test_main.small_predict.__wrapped__(Patch())
import early_exit.cli.running as running
load = running.load
def printing(*given):
    ctypes.CDLL(None).puts(b"hello from C")
    return load(*given)
running.load = printing
for form in (["--json"], []):
    assert cli.main([*sys.argv[1:], *form]) == cli.FINE
"""
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    call = [sys.executable, "-c", program, "predict", *names, "--policy", "p"]
    done = subprocess.run(call, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    told = done.stderr.decode().splitlines()
    words = ("C", "a descriptor", "a program", "the constructor")
    assert sorted(told) == sorted([f"hello from {word}" for word in words] * 2)
    lines = done.stdout.decode().splitlines()
    assert [json.loads(line)["image"] for line in lines[:3]] == names
    assert len(lines[3:]) == 4
    assert all(line.isprintable() for line in lines)
    assert r"b\nc.png" in lines[5]
    assert r"d\udcff.png" in lines[6]


def test_json_lines_are_alone_in_a_redirected_standard_output(small_predict, tmp_path, capsys):
    assert cli.main(["predict", image(tmp_path / "a.png"), "--json", "--policy", "p"]) == cli.FINE
    caught = capsys.readouterr()
    assert json.loads(caught.out)["class"] in {"a", "b\x1b[2J", "c", "d"}
    assert "hello from the constructor" in caught.err


def test_logits_that_are_not_finite_print_no_row(small_predict, tmp_path, capsys, monkeypatch):
    import torch

    network = SmallNetwork().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(float("nan"))
    monkeypatch.setattr("test_main.SmallNetwork", lambda: network)
    assert cli.main(["predict", image(tmp_path / "a.png"), "--json", "--policy", "p"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "NaN or infinite" in said.err.splitlines()[-1]
