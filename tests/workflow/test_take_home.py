"""A policy taken home: predict, record and check on a finished run; the export without torch."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jobs import planned_jobs
from PIL import Image

from bare import bare_environment, lines_of
from conftest import PRIVATE, ROOT, Project
from early_exit.cli import main as cli
from early_exit.cli.main import BROKEN_PIPE, DRIFT, FINE, INTERRUPTED, NOTHING_DONE, SOME_BAD
from early_exit.datasets.corruptions import KINDS
from early_exit.datasets.load import load_split
from early_exit.errors import InputError
from early_exit.export.graphs import code
from early_exit.io.files import read_json, sha256, write_json
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import load_network, save_network
from early_exit.policy.policy import Policy
from early_exit.records.parquet import read_records, write_records

pytestmark = pytest.mark.thorough

PAGE = (ROOT / "docs/deployment.md").read_text()
SETTINGS = {"name": "digits", "calibration": 200, "test": 200, "split_seed": 42}
SOME = 60


@pytest.fixture(scope="module")
def home(finished_once, tmp_path_factory) -> Project:
    """The finished run under a policy under which images exit everywhere; exported."""
    project = Project(tmp_path_factory.mktemp("home") / "project")
    shutil.copytree(finished_once.folder, project.folder, symlinks=True)
    path = project.path("selection/policy.json")
    content = read_json(path)
    entropy = read_records(project.path("exits/calibration.parquet")).uncertainty
    thresholds = ["never", *map(float, np.quantile(entropy[:, 1:-1], 0.3, axis=0))]
    content["policy"]["thresholds"] = thresholds
    write_json(path, content)
    project.run("--cores", "2", "export", check=True)
    return project


@pytest.fixture(scope="module")
def images():
    """Images of the test split, uint8 (N, 3, 32, 32)."""
    return load_split("data", "test", SETTINGS).inputs.numpy()


@pytest.fixture(scope="module")
def expected(home):
    """Exit (from 1) and class of each image of the test split, simulated from the records."""
    records = read_records(home.path("exits/test.parquet"))
    policy = Policy.from_json(read_json(home.path("selection/policy.json"))["policy"])
    taken = policy.exits_taken(records.uncertainty)
    prediction = records.prediction[np.arange(len(records)), taken]
    assert len(set(taken)) > 3
    return pd.DataFrame({"exit": taken + 1, "class": prediction.astype(str)})


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory) -> Path:
    """Some of them as files."""
    return saved(tmp_path_factory.mktemp("images"), images[:SOME])


def saved(folder: Path, images) -> Path:
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number:03d}.png")
    return folder


@dataclass
class Done:
    """How a call of the command ended."""

    returncode: int
    stdout: str
    stderr: str


def early_exit(home, *arguments) -> Done:
    """The command, called here: torch is there already."""
    policy = ["--policy", str(home.path("selection/policy.json"))]
    with redirect_stdout(io.StringIO()) as shown, redirect_stderr(io.StringIO()) as told:
        status = cli.main([*map(str, arguments), *policy])
    return Done(status, shown.getvalue(), told.getvalue())


def command(home, *arguments) -> list[str]:
    """The command as a user would call it, in a process of its own."""
    policy = ["--policy", str(home.path("selection/policy.json"))]
    return [sys.executable, str(ROOT / "scripts/early-exit"), *map(str, arguments), *policy]


def rows(done) -> pd.DataFrame:
    return pd.DataFrame([json.loads(line) for line in done.stdout.splitlines()])


def test_predict_agrees_with_the_records(home, folder, expected):
    done = early_exit(home, "predict", folder, "--json", "--batch-size", "16")
    assert (done.returncode, done.stderr) == (FINE, "")
    found = rows(done)
    assert found.image.tolist() == [str(folder / f"{n:03d}.png") for n in range(SOME)]
    # Classes are named; ties may go either way.
    same = (found["exit"] == expected["exit"][:SOME]) & (found["class"] == expected["class"][:SOME])
    assert same.mean() >= 0.98
    assert (found.ms > 0).all()
    assert found.ms.nunique() == -(-SOME // 16)


def test_predict_reports_a_bad_image_and_continues(home, folder, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG, or so")
    done = early_exit(home, "predict", folder / "000.png", bad, folder / "001.png")
    assert done.returncode == SOME_BAD
    assert done.stderr.startswith(f"early-exit: {bad}: no image that can be read")
    assert done.stderr.count("\n") == 1
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["image", "class", "exit", "uncertainty", "ms"]
    assert [line.split()[0] for line in lines] == [str(folder / f"00{n}.png") for n in (0, 1)]
    nothing = early_exit(home, "predict", bad)
    assert (nothing.returncode, nothing.stdout) == (NOTHING_DONE, "")


def test_predict_reads_standard_input(home, folder):
    content = (folder / "003.png").read_bytes()
    call = command(home, "predict", "-", folder / "003.png", "--json")
    found = rows(subprocess.run(call, input=content, capture_output=True, check=True))
    assert found.image.tolist() == ["-", str(folder / "003.png")]
    assert found["uncertainty"].nunique() == 1


def test_a_closed_pipe_and_an_interrupt_are_no_errors(home, folder):
    """Neither is a fault."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # The first row comes before the second image, which is waited for.
    call = command(home, "predict", "--json", "--batch-size", "1", folder / "000.png", "-")
    with subprocess.Popen(call, **pipes) as running:
        running.stdout.readline()
        running.stdout.close()
        _, told = running.communicate((folder / "001.png").read_bytes(), timeout=120)
        assert (running.returncode, told) == (BROKEN_PIPE, b"")
    # Who runs the tests in the background has told all to ignore it.
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(call, preexec_fn=heeded, **pipes) as running:
        running.stdout.readline()
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=120) == INTERRUPTED
        assert running.stderr.read() == b""


def test_records_of_images_are_those_of_the_workflow(home, folder, tmp_path):
    whole = read_records(home.path("exits/test.parquet"), logits=True)
    table = pd.DataFrame({"image": [f"{n:03d}.png" for n in range(40)], "label": whole.label[:40]})
    table.to_csv(folder.parent / "labels.csv", index=False)
    shutil.move(folder.parent / "labels.csv", folder / ".labels.csv")
    new = tmp_path / "new.parquet"
    labels = ["--labels", folder / ".labels.csv"]
    done = early_exit(home, "record", folder, "--output", new, *labels)
    assert (done.returncode, done.stderr) == (FINE, "")
    records = read_records(new, logits=True, labelled=False)
    np.testing.assert_allclose(records.logits, whole.logits[:SOME], atol=1e-4)
    assert records.label.tolist() == [*whole.label[:40], *[-1] * 20]
    checked = early_exit(home, "check", "--records", new, "--json")
    found = json.loads(checked.stdout)
    assert (checked.returncode, found["drift"], found["samples"]) == (FINE, False, SOME)
    (accuracy,) = [test for test in found["tests"] if test["test"] == "accuracy"]
    assert accuracy["samples"] == 40
    # A label is wanted, and no step of the workflow takes records without.
    wrong = early_exit(home, "record", folder, "--output", new, "--labels", "folders")
    assert wrong.returncode == NOTHING_DONE
    assert "is no class" in wrong.stderr


def test_the_test_split_shows_no_drift(home):
    done = early_exit(home, "check", "--records", home.path("exits/test.parquet"))
    assert done.returncode == FINE, done.stdout
    assert "no drift found (200 new samples" in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_degraded_images_show_drift(home, images, kind, tmp_path):
    # A network that has hardly learned is unsure of everything: it takes much to make it more so.
    worse = images
    for _ in range(10):
        worse = KINDS[kind](worse, 2)
    saved(tmp_path / "worse", worse)
    new = tmp_path / "new.parquet"
    assert early_exit(home, "record", tmp_path / "worse", "--output", new).returncode == FINE
    done = early_exit(home, "check", "--records", new)
    assert done.returncode == DRIFT, done.stdout
    assert re.search(r"^drift: .* moved \(200 new samples", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("labels", [True, False])
def test_a_recalibrated_policy_predicts_and_is_checked(home, images, labels, tmp_path):
    """On less contrast, which moves the uncertainties."""
    saved(tmp_path / "worse", KINDS["contrast"](KINDS["contrast"](images, 2), 2))
    new = tmp_path / "new.parquet"
    known = pd.DataFrame(
        {
            "image": [f"{n:03d}.png" for n in range(200)],
            "label": read_records(home.path("exits/test.parquet")).label,
        }
    )
    known.to_csv(tmp_path / "labels.csv", index=False)
    shutil.move(tmp_path / "labels.csv", tmp_path / "worse/.labels.csv")
    more = ["--labels", tmp_path / "worse/.labels.csv"] if labels else []
    done = early_exit(home, "record", tmp_path / "worse", "--output", new, *more)
    assert done.returncode == FINE, done.stderr
    target = ["--target", "macs_share=0.7"] if labels else []
    output = home.path(f"recalibrated_{labels}/policy.json")
    done = early_exit(home, "recalibrate", "--records", new, "--output", output, *target)
    assert (done.returncode, done.stderr) == (FINE, "")
    content = read_json(output)
    assert content["recalibrated"]["by"] == ("labels" if labels else "exit shares")
    if not labels:
        # The fixture has moved the thresholds, but not the shares that the file names.
        kept = read_json(home.path("selection/policy.json"))["calibration"]["exit_shares"]
        assert content["recalibrated"]["shares_kept"] == kept
    policy = Policy.load(output)
    with redirect_stdout(io.StringIO()) as shown:
        own = ["--policy", str(output)]
        assert cli.main(["predict", str(tmp_path / "worse"), "--json", *own]) == FINE
        predicted = shown.getvalue()
        assert cli.main(["check", "--records", str(new), *own]) == FINE
    found = pd.DataFrame([json.loads(line) for line in predicted.splitlines()])
    taken = policy.exits_taken(read_records(new, labelled=False).uncertainty)
    assert (found["exit"].to_numpy() == taken + 1).mean() >= 0.98


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("another network", "policy.json: made with another network than"),
        ("no network", "network.safetensors: missing"),
        ("half a network", "policy.json: made with another network than"),
        ("no manifest", "manifest.json: missing"),
        ("half a manifest", "manifest.json: cannot be read as JSON"),
        ("other data", "policy.json: made with other data than"),
        ("records", "of an experiment with external records"),
    ],
)
def test_files_of_another_experiment_are_one_line(home, folder, tmp_path, fault, message):
    project = Project(tmp_path)
    for part in ("selection/policy.json", "data/manifest.json", "network/network.safetensors"):
        project.path(part).parent.mkdir(parents=True)
        shutil.copy(home.path(part), project.path(part))
    network, manifest = (
        project.path("network/network.safetensors"),
        project.path("data/manifest.json"),
    )
    {
        "another network": lambda: save_network(
            build_network("branchynet", 10, [3, 32, 32]), network, load_network(network)[1]
        ),
        "no network": network.unlink,
        "half a network": lambda: network.write_bytes(network.read_bytes()[:9999]),
        "no manifest": manifest.unlink,
        "half a manifest": lambda: manifest.write_bytes(manifest.read_bytes()[:99]),
        "other data": lambda: write_json(manifest, read_json(manifest) | {"digest": "0" * 64}),
        "records": lambda: write_json(manifest, {"digest": "0" * 64, "class_names": None}),
    }[fault]()
    done = early_exit(project, "predict", folder)
    assert (done.returncode, done.stdout) == (NOTHING_DONE, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_records_of_another_network_are_refused(home, tmp_path):
    records = read_records(home.path("exits/test.parquet"))
    other = replace(records, logits=None, provenance=records.provenance | {"network": "0" * 64})
    write_records(tmp_path / "new.parquet", other)
    done = early_exit(home, "check", "--records", tmp_path / "new.parquet")
    assert done.returncode == NOTHING_DONE
    assert "made with another network than" in done.stderr
    assert "give the policy of the network that they were recorded with" in done.stderr


def test_external_records_are_checked_with_and_without_labels(home, tmp_path):
    records = read_records(home.path("exits/test.parquet"), logits=True)
    np.savez(tmp_path / "with.npz", logits=records.logits, labels=records.label)
    np.savez(tmp_path / "without.npz", logits=records.logits)
    own = home.path("exits/test.parquet")
    labelled, unlabelled, ours = (
        json.loads(early_exit(home, "check", "--json", "--records", file).stdout)
        for file in (tmp_path / "with.npz", tmp_path / "without.npz", own)
    )
    assert labelled == ours
    assert unlabelled["shares"] == ours["shares"]
    assert {row["test"] for row in ours["tests"]} - {row["test"] for row in unlabelled["tests"]}


def test_the_export_does_what_the_network_does(home):
    comparison = read_json(home.path("export/comparison.json"))
    assert comparison["agreement"]["different"] == 0
    assert comparison["agreement"]["equal"] + comparison["agreement"]["ties"] == 200
    assert comparison["agreement"]["ties"] <= 2
    times = comparison["timing"]["batch_sizes"]
    assert [times[size]["speed"] > 0 for size in ("1", "128")] == [True, True]
    names = sorted(path.name for path in home.path("export").rglob("*") if path.is_file())
    graphs = [f"{part}_{k}.onnx" for part in ("stage", "head") for k in range(1, 7)]
    others = ["README.md", "comparison.json", "manifest.json", "policy.json", "requirements.txt"]
    criteria = [Path(name).name for name in code()]
    assert names == sorted([*graphs, *others, *criteria, *2 * [".snakemake_timestamp"]])
    private = (*PRIVATE.values(), str(home.folder), str(Path.home()), sys.prefix)
    for path in home.path("export").rglob("*.*"):
        assert not path.is_file() or not [w for w in private if w.encode() in path.read_bytes()]
    # It is an extra: the policy is what it was, and what is exported stays so.
    assert home.planned("export") == {}


def test_an_export_with_other_results_is_refused(home, tmp_path, monkeypatch):
    folder = shutil.copytree(home.folder, tmp_path / "project", symlinks=True)
    project = Project(folder)
    (job,) = [job for job in planned_jobs(folder, "export") if job.rule == "check_export"]
    monkeypatch.chdir(folder)
    # Its policy is another one, and its manifest fits.
    policy = read_json(project.path("export/policy.json"))
    policy["policy"]["thresholds"][2] = "always"
    write_json(project.path("export/policy.json"), policy)
    manifest = read_json(project.path("export/manifest.json"))
    manifest["files"]["policy.json"] = sha256(project.path("export/policy.json"))
    write_json(project.path("export/manifest.json"), manifest)
    with pytest.raises(InputError, match=r"samples exit elsewhere, or get another class"):
        job.run()
    graph = project.path("export/graphs/head_3.onnx")
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"head_3\.onnx: damaged.*delete it and run again"):
        job.run()


@pytest.fixture(scope="module")
def taken_home(home, tmp_path_factory):
    """The export, copied, and a Python that has what its requirements ask for and no torch."""
    folder = tmp_path_factory.mktemp("taken")
    shutil.copytree(home.path("export"), folder / "export")
    return folder / "export", bare_environment(
        folder / "env", lines_of(folder / "export/requirements.txt")
    ).absolute()


def test_the_export_runs_without_torch(taken_home, images, expected, folder):
    export, python = taken_home
    np.save(export / "images.npy", images)
    program = """
import importlib.util, json, sys
import numpy as np
from runner import EarlyExitRunner
for name in ("torch", "onnx", "scipy", "pandas", "early_exit", "snakemake"):
    assert importlib.util.find_spec(name) is None, name
images = np.load("images.npy", allow_pickle=False)
runner = EarlyExitRunner(".")
for size in (1, 7, 128):
    prediction, exits, unsure = runner.run(images, size)
    print(json.dumps([prediction.tolist(), exits.tolist()]))
print([len(result) for result in runner.run(images[:0])])
"""
    done = subprocess.run([python, "-c", program], cwd=export, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *runs, nothing = done.stdout.splitlines()
    for run in runs:
        prediction, exits = json.loads(run)
        same = (expected["exit"] == np.array(exits) + 1) & (
            expected["class"] == np.array(prediction).astype(str)
        )
        assert same.mean() >= 0.99
    assert nothing == "[0, 0, 0]"
    files = [folder / "000.png", folder / "none.png", folder / "001.png"]
    done = subprocess.run([python, export / "runner.py", *files], capture_output=True, text=True)
    assert done.returncode == SOME_BAD
    assert "none.png: no image that can be read" in done.stderr
    shown = [line.split("\t")[1:3] for line in done.stdout.splitlines()]
    assert shown == [[expected["class"][n], f"exit {expected['exit'][n]}"] for n in (0, 1)]


def test_a_damaged_export_says_so(taken_home, folder, tmp_path):
    export, python = taken_home
    copied = shutil.copytree(export, tmp_path / "export")
    graph = copied / "graphs/head_2.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    done = subprocess.run(
        [python, copied / "runner.py", folder / "000.png"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (NOTHING_DONE, "")
    assert done.stderr == f"error: {graph}: damaged, or another file; export it again\n"


def test_the_service_of_the_page(taken_home, folder, expected):
    export, python = taken_home
    assert "cp examples/service.py results/X/export/" in PAGE
    shutil.copy(ROOT / "examples/service.py", export)
    command = [python, "-u", export / "service.py", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            address = service.stdout.readline().split()[-1]
            answer = ask(address, (folder / "000.png").read_bytes())
            assert answer["class"] == expected["class"][0]
            assert answer["exit"] == expected["exit"][0]
            for content, status in ((b"no image", 400), (b"", 400)):
                with pytest.raises(urllib.error.HTTPError) as refused:
                    ask(address, content)
                assert refused.value.code == status
                refused.value.close()
            assert ask(address, (folder / "001.png").read_bytes())["class"] == expected["class"][1]
        finally:
            service.terminate()


def ask(address, content):
    request = urllib.request.Request(address, data=content, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_every_key_of_the_policy_file_is_explained(home):
    section = PAGE.split("## The policy file")[1].split("\n## ")[0]
    explained = {
        key
        for cell in re.findall(r"^\| (.*?) \|", section, re.MULTILINE)
        for key in re.findall(r"`([\w.]+)`", cell)
    }
    content = json.loads(home.path("selection/policy.json").read_text())
    inner = {
        f"{key}.{name}"
        for key in ("policy", "calibration", "full_network", "network", "data", "cost", "identity")
        for name in content[key]
    }
    outer = {key for key in content if not any(name.startswith(f"{key}.") for name in inner)}
    # Of other policies: by a criterion that was fitted, and after a recalibration.
    others = {key for key in explained if key.startswith("recalibrated.")} | {"policy.parameters"}
    assert explained - others == inner | outer


def test_the_command_is_that_of_the_page():
    """Every command that the page shows is one, with its options."""
    shown = re.findall(r"^early-exit (\w+)(.*)", PAGE, re.MULTILINE)
    assert {name for name, _ in shown} == {"predict", "record", "check", "recalibrate", "policy"}
    for name, rest in shown:
        told = io.StringIO()
        with redirect_stdout(told), pytest.raises(SystemExit):
            cli.main([name, "--help"])
        for option in re.findall(r"--[\w-]+", rest):
            assert option in told.getvalue()
