"""New samples that are no images on the command line: files, arrays, lines of text and of JSON."""

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from early_exit.cli import main as cli
from early_exit.config import fingerprint
from early_exit.datasets.load import load_split, prepare_dataset
from early_exit.inference.engine import Engine
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy, full_network
from early_exit.records.parquet import read_records
from early_exit.structures.tree import map_tensors
from helpers import SmallNetwork

NAME = "own/texts.py:Texts"
SETTINGS = {"name": NAME, "calibration": 2, "test": 2, "split_seed": 1, "mean": None, "std": None}
# The raw samples, and a class that keeps its vocabulary.
LINES = [f"{a} {b}" for a in ("turn", "play", "call", "stop") for b in ("on", "it", "me", "now")]
TEXTS = f"""
from pathlib import Path

import numpy as np

LINES = {LINES!r}


class Texts:
    class_names = ("turn", "play", "call", "stop")
    words = None

    def split(self, name):
        if name != "train":
            return None
        self.words = sorted(set(" ".join(LINES).split()))
        return self.prepare(LINES), np.arange(len(LINES)) // 4

    def prepare(self, texts):
        return np.array([[word in text.split() for word in self.words] for text in texts], float)

    def state(self):
        return {{"words": self.words}}

    def load_state(self, state):
        self.words = state["words"]

    def read(self, path):
        return Path(path).read_text()
"""
# Its network's inputs.
WORDS = sorted(set(" ".join(LINES).split()))


class Unscaled(Engine):
    """Leaves inputs as they are."""

    def prepare(self, inputs):
        return map_tensors(lambda one: one.float(), inputs)


class Joined(torch.nn.Module):
    """The first stage of a network that takes a dictionary."""

    def forward(self, inputs):
        return (inputs["x"].mean(1) * inputs["mask"]).repeat(1, 3)


@dataclass
class Stub:
    """An experiment of a small network, without files."""

    manifest_of: dict
    policy: Policy
    content: dict
    origin: tuple = ("policy.json", {})

    def manifest(self) -> dict:
        return self.manifest_of


@pytest.fixture
def network():
    """Takes the eight words, or any eight numbers."""
    found = SmallNetwork()
    found.stages[0][1] = torch.nn.Linear(8, 12)
    return found.eval()


@pytest.fixture
def use(monkeypatch, network):
    """Has the command line use a network, and a data set by its settings or manifest."""

    def used(settings=SETTINGS, path="", manifest=None):
        manifest = manifest or prepare_dataset(path, settings)
        # As it is read from its file.
        manifest = json.loads(json.dumps(manifest))
        policy = full_network(ExitCriterion(), 3)
        experiment = Stub(manifest, policy, {"identity": {"network": "n"}})
        monkeypatch.setattr("early_exit.cli.experiment.read_experiment", lambda _: experiment)
        monkeypatch.setattr("early_exit.cli.running.load", lambda *_: (network, Unscaled()))
        return manifest

    yield used
    fingerprint._read.cache_clear()


@pytest.fixture
def texts(tmp_path, monkeypatch, use):
    """The data set of texts."""
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    Path("own/texts.py").write_text(TEXTS)
    fingerprint._read.cache_clear()
    return use()


@pytest.fixture
def rows(tmp_path, use, network):
    """A data set of a file of arrays: three rows of four numbers, and a mask of these."""
    network.stages[0] = Joined()
    arrays = {"input_x": np.ones((20, 3, 4)), "input_mask": np.ones((20, 4), bool)}
    np.savez(tmp_path / "own.npz", labels=np.arange(20) % 4, **arrays)
    settings = {"name": "npz", "calibration": 2, "test": 2, "split_seed": 1}
    return use(settings, tmp_path / "own.npz")


def call(command, *arguments, trusted=NAME):
    trust = ["--trust-code", trusted] if trusted else []
    return cli.main([command, *arguments, "--policy", "policy.json", *trust])


def given(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def shown(capsys):
    """Rows of JSON on standard output, and lines of standard error."""
    caught = capsys.readouterr()
    return [json.loads(line) for line in caught.out.splitlines()], caught.err.splitlines()


def expected_class(network, manifest, text):
    words = torch.tensor([[word in text.split() for word in WORDS]]).float()
    with torch.no_grad():
        logits = network(words)
    return manifest["class_names"][int(logits[0, -1].argmax())]


def test_lines_of_text_are_classified(texts, network, monkeypatch, capsys):
    assert texts["state"] == {"words": WORDS}
    given(monkeypatch, b"turn on\n\nplay it\r\nstop me now")
    assert call("predict", "--text", "--json", "--batch-size", "2") == cli.FINE
    found, told = shown(capsys)
    assert told == []
    assert [row["input"] for row in found] == [f"standard input:{n}" for n in (1, 3, 4)]
    lines = ("turn on", "play it", "stop me now")
    assert [row["class"] for row in found] == [expected_class(network, texts, x) for x in lines]
    Path("a.txt").write_text("call me\n")
    assert call("predict", "a.txt", "--text", "--json") == cli.FINE
    assert shown(capsys)[0][0]["input"] == "a.txt:1"


def test_a_data_set_of_texts_needs_no_option(texts, use, monkeypatch, capsys):
    Path("own/texts.py").write_text(
        TEXTS.replace("    words = None", "    words = None\n    text = True")
    )
    fingerprint._read.cache_clear()
    use()
    given(monkeypatch, b"turn on\n")
    assert call("predict", "--json") == cli.FINE
    assert len(shown(capsys)[0]) == 1
    # What it reads are files nevertheless.
    Path("a.txt").write_text("call me\nnow")
    assert call("predict", "a.txt", "--json") == cli.FINE
    assert [row["input"] for row in shown(capsys)[0]] == ["a.txt"]


def test_bad_lines_are_reported_and_skipped(texts, monkeypatch, capsys):
    given(monkeypatch, b'"turn on"\n{"a"\n3\nNaN\n"\xff"\n"play it"\n' + b"[" * 100_000 + b"\n")
    assert call("predict", "--jsonl", "--json", "--batch-size", "3") == cli.SOME_BAD
    found, told = shown(capsys)
    assert [row["input"] for row in found] == ["standard input:1", "standard input:6"]
    reasons = ["not JSON", "prepare() failed (AttributeError", "not JSON", "not UTF-8", "not JSON"]
    assert len(told) == len(reasons)
    said = dict(zip((2, 3, 4, 5, 7), reasons, strict=True))
    for number, reason in said.items():
        (line,) = [line for line in told if f"standard input:{number}: " in line]
        assert reason in line
    given(monkeypatch, b"3\n")
    assert call("predict", "--jsonl") == cli.NOTHING_DONE
    assert shown(capsys)[1][-1] == "early-exit: no sample could be used"
    given(monkeypatch, b"\n")
    assert call("predict", "--jsonl") == cli.NOTHING_DONE
    assert shown(capsys)[1][-1] == "early-exit: found no samples"


def test_files_that_the_class_reads(texts, network, capsys):
    Path("new/stop").mkdir(parents=True)
    Path("new/stop/a.txt").write_text("stop it")
    Path("new/stop/b.txt").write_bytes(b"\xff")
    assert call("predict", "new", "gone.txt", "--json") == cli.SOME_BAD
    (row,), told = shown(capsys)
    assert (row["input"], row["class"]) == (
        "new/stop/a.txt",
        expected_class(network, texts, "stop it"),
    )
    assert "new/stop/b.txt: own/texts.py:Texts: read() failed" in told[0]
    assert "gone.txt: there is no such file" in told[1]
    arguments = ["new", "--labels", "folders", "--output", "new.parquet"]
    assert call("record", *arguments) == cli.SOME_BAD
    records = read_records("new.parquet", labelled=False)
    assert records.label.tolist() == [3]


def test_rows_of_a_file_of_arrays(use, network, tmp_path, capsys):
    values = np.arange(8.0).reshape(2, 4)
    np.savez(tmp_path / "new.npz", inputs=values, labels=[3, 1])
    path = tmp_path / "own8.npz"
    np.savez(path, inputs=np.ones((20, 4), np.float32), labels=np.arange(20) % 4)
    network.stages[0][1] = torch.nn.Linear(4, 12)
    use({"name": "npz", "calibration": 2, "test": 2, "split_seed": 1}, path)
    new = str(tmp_path / "new.npz")
    assert call("predict", "--npz", new, "--json", trusted="") == cli.FINE
    assert [row["input"] for row in shown(capsys)[0]] == [f"{new}[0]", f"{new}[1]"]
    output = str(tmp_path / "new.parquet")
    assert call("record", "--npz", new, "--output", output, trusted="") == cli.FINE
    records = read_records(output, logits=True, labelled=False)
    assert records.label.tolist() == [3, 1]
    with torch.no_grad():
        logits = network(torch.from_numpy(values).float())
    np.testing.assert_allclose(records.logits, logits, atol=1e-5)
    np.savez(tmp_path / "new.npz", inputs=values, labels=[3, 4])
    assert call("record", "--npz", new, "--output", output, trusted="") == cli.NOTHING_DONE
    assert "labels up to 4, but the network has 4 classes" in shown(capsys)[1][0]
    np.savez(tmp_path / "new.npz", inputs=values, labels=[3, 3, 3])
    assert call("record", "--npz", new, "--output", output, trusted="") == cli.NOTHING_DONE
    assert "2 inputs, but 3 labels" in shown(capsys)[1][0]


def test_lines_of_json_without_prepare_are_the_inputs(rows, monkeypatch, capsys):
    good = {"x": [[1, 2, 3, 4.5]] * 3, "mask": [True, True, False, False]}
    bad = [good | {"x": [1, 2]}, good | {"mask": [0, 1, 2, 0]}, {"x": good["x"]}, [1]]
    given(monkeypatch, "\n".join(json.dumps(line) for line in bad).encode())
    assert call("predict", "--jsonl", trusted="") == cli.NOTHING_DONE
    told = shown(capsys)[1]
    for line, reason in zip(
        told,
        ("shape [2], but the network takes [3, 4]", "['mask']: int64 of", "must have the", "must"),
        strict=False,
    ):
        assert reason in line
    assert len(told) == 5
    given(monkeypatch, json.dumps(good).encode())
    assert call("predict", "--jsonl", "--json", trusted="") == cli.FINE
    assert len(shown(capsys)[0]) == 1


def test_code_that_only_a_manifest_names_is_not_run(texts, tmp_path, capsys):
    Path("own/texts.py").write_text(TEXTS + "\nPath('ran').touch()\n")
    fingerprint._read.cache_clear()
    assert call("predict", "--text", trusted="") == cli.NOTHING_DONE
    message = "policy.json: its data set is code in a file, own/texts.py:Texts, which runs only if"
    assert message in shown(capsys)[1][0]
    assert call("predict", "--text") == cli.NOTHING_DONE
    message = "own/texts.py was changed since this data set was saved, or is another file; restore"
    assert message in shown(capsys)[1][0]
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text"], "--text: the data set npz prepares no text; give --jsonl or --npz FILE"),
        (["a.bin"], "the data set npz reads no files, and prepares no text; give --jsonl or --npz"),
        ([], "the data set npz reads no files"),
        (["--npz", "gone.npz"], "gone.npz: no arrays that can be read safely"),
        (["--npz", "a.npz", "b.npz"], "--npz: has the samples"),
        (["--npz", "a.npz", "--text"], "--npz and --text: one form at a time"),
        (["--jsonl", "--max-pixels", "9"], "--max-pixels: is for image files"),
        (["--jsonl", "gone.jsonl"], "gone.jsonl: No such file"),
    ],
)
def test_forms_that_a_data_set_does_not_take(rows, arguments, message, capsys):
    assert call("predict", *arguments, trusted="") == cli.NOTHING_DONE
    assert message in shown(capsys)[1][0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"input_x": np.ones((2, 3, 4))}, "has no input_mask; it has: input_x"),
        ({"input_x": np.ones((2, 3, 4)), "input_mask": np.ones((1, 4), bool)}, "differ in length"),
        ({"input_x": np.ones((2, 3, 5)), "input_mask": np.ones((2, 4), bool)}, "shape [3, 5], but"),
        ({"input_x": np.array([[["a"] * 4] * 3] * 2), "input_mask": np.ones((2, 4), bool)}, "<U1"),
    ],
)
def test_files_of_arrays_that_do_not_fit(rows, arrays, message, tmp_path, capsys):
    np.savez(tmp_path / "new.npz", **arrays)
    assert call("predict", "--npz", str(tmp_path / "new.npz"), trusted="") == cli.NOTHING_DONE
    (told,) = shown(capsys)[1]
    assert message in told


def test_images_of_other_channels_are_given_as_arrays(use, tmp_path, network, capsys):
    network.stages[0][1] = torch.nn.Linear(4 * 6 * 5, 12)
    images = np.zeros((20, 6, 5, 4), np.uint8)
    path = tmp_path / "own.npz"
    np.savez(path, images=images, labels=np.arange(20) % 4)
    use({"name": "npz", "calibration": 2, "test": 2, "split_seed": 1}, path)
    assert call("predict", "a.png", trusted="") == cli.NOTHING_DONE
    message = "images of 4 channels, which no image file has; give them by --npz"
    assert message in shown(capsys)[1][0]
    assert call("predict", "--npz", str(path), "--json", trusted="") == cli.FINE
    assert len(shown(capsys)[0]) == 20
    for option in ("--jsonl", "--text"):
        assert call("predict", option, trusted="") == cli.NOTHING_DONE
        assert f"{option}: the data set npz" in shown(capsys)[1][0]


def test_the_class_prepares_what_it_was_trained_on(texts):
    data = load_split("", "test", SETTINGS, texts)
    for row, index in zip(data.inputs, data.index.tolist(), strict=True):
        assert row.tolist() == [float(word in LINES[index].split()) for word in WORDS]
