"""The page on data, followed to the letter: data sets and networks of the user's, no images."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from test_bad_input import fails
from test_caching import AFTER_TRAINING, EVERYTHING, planned
from test_own_network import LEFT_OUT, QUICK

from conftest import ROOT
from early_exit.records.parquet import read_records

pytestmark = pytest.mark.thorough

PAGE = (ROOT / "docs/data.md").read_text()
SAYINGS = {
    "weather": ("is it {} today", ("raining", "sunny", "cold", "windy")),
    "music": ("play some {} please", ("jazz", "rock", "blues", "bach")),
    "alarm": ("wake me at {} tomorrow", ("seven", "eight", "nine", "noon")),
}


def block(language, containing):
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return found


def experiment(name, **training):
    """The page's experiment, with what a test has time for."""
    own = yaml.safe_load(block("yaml", f"  {name}:"))[name] | QUICK
    own["training"] |= training
    return own


def write(project, name, containing):
    (project.folder / "own").mkdir(exist_ok=True)
    path = project.folder / "own" / name
    path.write_text(block("python", containing))
    return path


def early_exit(project, *arguments, stdin=None):
    command = [sys.executable, "scripts/early-exit", *arguments]
    return subprocess.run(
        command, cwd=project.folder, text=True, capture_output=True, input=stdin, check=False
    )


def policy(name):
    return ("--policy", f"results/{name}/selection/policy.json")


def trust(*names):
    return [one for name in names for one in ("--trust-code", name)]


@pytest.fixture
def windows(project):
    """The page's windows: ten persons, three activities, told apart by how much they shake."""
    rng = np.random.default_rng(0)
    activity, person = np.arange(600) % 3, np.arange(600) // 60
    window = rng.normal(size=(600, 3, 32)) * (1 + 8 * activity)[:, None, None]
    own = project.folder / "own"
    own.mkdir()
    np.savez(own / "recordings.npz", window=window, activity=activity, person=person)
    write(project, "windows.py", "class Windows")
    write(project, "convolution.py", "class Convolution")
    project.configure(
        run="windows", experiments={"windows": experiment("windows", epochs=15, batch_size=16)}
    )
    return project


def test_windows_of_floats(windows, tmp_path):
    windows.run("--cores", "2", check=True)
    results = windows.folder / "results/windows"
    manifest = json.loads((results / "data/manifest.json").read_text())
    assert "shape" not in manifest
    summary = json.loads((results / "summary.json").read_text())
    assert summary["dataset"] == "own/windows.py:Windows"
    # By hand: two convolutions and the last linear layer.
    macs = 3 * 5 * 16 * 16 + 16 * 5 * 32 * 8 + 32 * 3
    assert summary["full_network"]["macs"] == macs
    assert summary["full_network"]["accuracy"] > 0.6
    evaluation = json.loads((results / "evaluation/evaluation.json").read_text())
    assert evaluation["agreement"]["different"] == 0
    assert len(read_records(results / "exits/test.parquet")) == 120
    assert windows.planned() == {}
    _new_windows(windows)
    _what_is_run_again(windows)


def _new_windows(project):
    """Files that the class reads, as the page has them."""
    folder = project.folder / "new"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(4):
        np.savetxt(folder / f"{number}.csv", 9 * rng.normal(size=(32, 3)), delimiter=",")
    (folder / "bad.csv").write_text("1,2,3\n4,5,6\n")
    trusted = trust("own/windows.py:Windows", "own/convolution.py:Convolution")
    done = early_exit(project, "predict", "new", "--json", *policy("windows"), *trusted)
    assert done.returncode == 4, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["input"] for row in rows] == [f"new/{number}.csv" for number in range(4)]
    assert {row["class"] for row in rows} <= {"still", "walking", "running"}
    assert "new/bad.csv: prepare(raw): float32 of shape [3, 2] for a sample" in done.stderr
    recorded = early_exit(
        project, "record", "new", "--output", "new.parquet", *policy("windows"), *trusted
    )
    assert recorded.returncode == 4, recorded.stderr
    checked = early_exit(project, "check", "--records", "new.parquet", *policy("windows"))
    assert checked.returncode in (0, 3), checked.stderr
    # Neither is run unless it is named.
    for left_out in (trusted[2:], trusted[:2]):
        refused = early_exit(project, "predict", "new", *policy("windows"), *left_out)
        assert refused.returncode == 2
        assert "is code in a file" in refused.stderr


def _what_is_run_again(project):
    """Exactly what depends on an edit of the class, of the network, and of the data."""
    own = project.folder / "own"
    for name, old, new, expected in (
        ("windows.py", "# From", "# Converts from", set()),
        ("windows.py", "9.81", "9.8", EVERYTHING - LEFT_OUT),
        ("convolution.py", "padding=2", "padding=1", AFTER_TRAINING - LEFT_OUT),
    ):
        text = (own / name).read_text()
        (own / name).write_text(text.replace(old, new))
        assert planned(project) == expected
        (own / name).write_text(text)
    (own / "recordings.npz").rename(own / "moved.npz")
    project.edit("config.yaml", "own/recordings.npz", "own/moved.npz")
    assert planned(project) == set()
    arrays = dict(np.load(own / "moved.npz"))
    np.savez(own / "moved.npz", **arrays | {"window": arrays["window"] + 1})
    assert planned(project) == EVERYTHING - LEFT_OUT


def test_texts_with_a_vocabulary(project):
    write(project, "texts.py", "class Texts")
    write(project, "embedding.py", "class Embedding")
    lines = [
        json.dumps({"text": said.format(word), "intent": intent})
        for intent, (said, words) in SAYINGS.items()
        for word in words
    ]
    (project.folder / "own/texts.jsonl").write_text("\n".join(lines * 20))
    project.configure(run="texts", experiments={"texts": experiment("texts")})
    project.run("--cores", "2", check=True)
    summary = json.loads((project.folder / "results/texts/summary.json").read_text())
    assert summary["full_network"]["accuracy"] > 0.9
    command = block("sh", "echo").replace("\\\n", " ").splitlines()[1].partition("|")[2]
    arguments = command.split()[1:]
    done = early_exit(project, *arguments, "--json", stdin="play some jazz\nwake me\n")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["class"] for line in done.stdout.splitlines()] == ["music", "alarm"]


def test_rows_of_a_file(project):
    code = write(project, "rows.py", "default_rng")
    write(project, "layers.py", "class Layers")
    subprocess.run([sys.executable, str(code)], cwd=project.folder, check=True)
    project.configure(run="rows", experiments={"rows": experiment("rows", epochs=5)})
    project.run("--cores", "2", "evaluate", check=True)
    trusted = trust("own/layers.py:Layers")
    line = json.dumps([1.0] * 12)
    done = early_exit(
        project, "predict", "--jsonl", "--json", *policy("rows"), *trusted, stdin=line
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["class"] == "yes"
    # What only images have is refused by name.
    project.edit("config.yaml", "name: npz", "name: npz\n      mean: [0.5]\n      std: [1.0]")
    assert "dataset.mean: only images are scaled, and npz has none" in fails(project, "data")


def test_a_new_experiment_of_ones_own_data(project):
    (project.folder / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    done = early_exit(project, "new", "my-rows", "data")
    assert "config.yaml, and own/my_rows_data.py, and own/my_rows_network.py" in done.stdout
    again = early_exit(project, "new", "my_rows", "data")
    assert again.returncode == 2
    assert "own/my_rows_data.py: is there already" in again.stderr
    config = yaml.safe_load((project.folder / "config.yaml").read_text())
    assert "my_rows" not in config["experiments"]
    own = config["experiments"]["my-rows"] | QUICK
    own["training"]["epochs"] = 4
    project.configure(run="my-rows", experiments={"my-rows": own})
    project.run("--cores", "2", "evaluate", check=True)
    result = json.loads((project.folder / "results/my-rows/evaluation/evaluation.json").read_text())
    assert result["full_network"]["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("own/windows.py", "own/window.py", "windows.dataset.name: there is no file own/window.py"),
        ("py:Windows", "py:Window", "no class or function Window; did you mean Windows?"),
        ("own/recordings.npz", "gone.npz", "windows.dataset.path: there is no folder or file"),
        ("path: own", "size: 3\n      path: own", "own/windows.py:Windows takes no size"),
        ("name: own/windows.py:Windows", "name: windows", "or path/to/file.py:ClassName"),
    ],
)
def test_what_is_missing_is_reported_at_once(windows, old, new, message):
    windows.edit("config.yaml", old, new)
    assert message in fails(windows)
    assert not (windows.folder / "results").exists()


def test_an_unsuitable_class_is_reported_before_training(windows):
    windows.edit("own/windows.py", "/ 9.81", "* np.nan")
    told = fails(windows)
    assert "own/windows.py:Windows: split('train'): inputs: NaN or infinite values" in told
    assert not (windows.folder / "results/windows/data/manifest.json").exists()
