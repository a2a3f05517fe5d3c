"""Claims of docs/trust.md: code execution, unpickling and checksums."""

from __future__ import annotations

import ast
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import export_check
import network_train
from early_exit.cli import main as cli
from early_exit.cli.experiment import read_experiment
from early_exit.config import fingerprint
from early_exit.config.code_file import CodeFile, code_file
from early_exit.datasets.load import load_split
from early_exit.errors import InputError
from early_exit.export.graphs import code
from early_exit.io.files import read_json, sha256, write_json
from early_exit.networks.build import build_network, describe_network
from early_exit.networks.checkpoint import load_network, save_network
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.records.external.read import read_external_records
from early_exit.records.parquet import read_records, write_records
from early_exit.training.state import SavedState
from helpers import make_records

ROOT = Path(__file__).parents[2]
SHAPE = [3, 2, 2]
CODE = """
from pathlib import Path

from torch import nn

Path({ran!r}).touch()


class Net(nn.Module):
    def __init__(self, classes, width=6):
        super().__init__()
        self.stages = nn.ModuleList([nn.Sequential(nn.Flatten(), nn.Linear(12, width)), nn.ReLU()])
        self.heads = nn.ModuleList([nn.Linear(width, classes), nn.Linear(width, classes)])


def cleanup(folder):
    Path({ran!r}).with_name("cleaned").touch()
"""


DATA = """
from pathlib import Path

Path({ran!r}).touch()


class Data:
    def split(self, name):
        return None
"""


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def ran(tmp_path) -> Path:
    """Exists if code of the file was run."""
    return tmp_path / "ran"


@pytest.fixture
def theirs(tmp_path, ran, monkeypatch) -> Path:
    """A results folder whose network is in a file, with that file wherever one might look."""
    monkeypatch.chdir(tmp_path)
    fingerprint._read.cache_clear()
    folder = tmp_path / "theirs"
    for place in (tmp_path, folder, folder / "network"):
        (place / "own").mkdir(parents=True)
        (place / "own/net.py").write_text(CODE.format(ran=str(ran)))
    name = "own/net.py:Net"
    provenance = describe_network({"name": name}) | {"classes": 4, "shape": SHAPE, "data": "d"}
    weights = folder / "network/network.safetensors"
    save_network(build_network(name, 4, SHAPE), weights, provenance)
    write_json(
        folder / "data/manifest.json", {"digest": "d", "shape": SHAPE, "class_names": list("abcd")}
    )
    policy = Policy(ExitCriterion(), (0.5,)).to_json()
    made_from = {"network": sha256(weights), "data": "d"}
    write_json(folder / "selection/policy.json", {"policy": policy, "identity": made_from})
    records = make_records(exits=2)
    records.provenance.update(made_from)
    write_records(folder / "exits/calibration.parquet", records)
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    ran.unlink()
    yield folder
    fingerprint._read.cache_clear()


def told_to(command: str, folder: Path, *more: str) -> int:
    arguments = ["a.png", "--output", "new.parquet"] if command == "record" else ["a.png"]
    return cli.main([command, *arguments, "--policy", str(folder / "selection/policy.json"), *more])


# --- results folders --------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize("command", ["predict", "record"])
def test_code_that_only_a_results_folder_names_is_not_run(theirs, ran, capsys, command, tally):
    assert told_to(command, theirs) == cli.NOTHING_DONE
    told = capsys.readouterr().err
    assert "its network is code in a file, own/net.py:Net, which runs only if you" in told
    assert told.count("\n") == 1
    assert not ran.exists()
    tally["results folders that would run code"] += 1


@pytest.mark.parametrize("command", ["predict", "record"])
def test_the_advice_works_once_the_file_was_read(theirs, ran, capsys, command):
    told_to(command, theirs)
    option, name = re.search(r"(--trust-code) (\S+)", capsys.readouterr().err).groups()
    assert told_to(command, theirs, option, name) == cli.FINE
    assert ran.exists()


@pytest.mark.faults
@pytest.mark.parametrize("command", ["predict", "record"])
def test_a_data_set_that_only_a_results_folder_names_is_not_run(
    theirs, ran, capsys, command, tally
):
    """Not even if its network is trusted; and a file that was changed is not, either."""
    (theirs.parent / "own/data.py").write_text(DATA.format(ran=str(ran)))
    source = CodeFile(Path("own/data.py"), "Data").fingerprint()
    manifest = theirs / "data/manifest.json"
    described = {"dataset": "own/data.py:Data", "settings": {}, "source": source}
    write_json(manifest, read_json(manifest) | described)
    options = ("--trust-code", "own/net.py:Net")
    assert told_to(command, theirs, *options) == cli.NOTHING_DONE
    told = capsys.readouterr().err
    assert "its data set is code in a file, own/data.py:Data, which runs only if you" in told
    assert told.count("\n") == 1
    assert not ran.exists()
    (theirs.parent / "own/data.py").write_text(DATA.format(ran=str(ran)) + "\nMORE = 1\n")
    fingerprint._read.cache_clear()
    options += ("--trust-code", "own/data.py:Data")
    assert told_to(command, theirs, *options) == cli.NOTHING_DONE
    assert "own/data.py was changed since this data set was saved" in capsys.readouterr().err
    assert not ran.exists()
    tally["results folders that would run code"] += 1
    (theirs.parent / "own/data.py").write_text(DATA.format(ran=str(ran)))
    fingerprint._read.cache_clear()
    assert told_to(command, theirs, *options) == cli.FINE
    assert ran.exists()


def test_check_loads_no_network(theirs, ran):
    policy, records = theirs / "selection/policy.json", theirs / "exits/calibration.parquet"
    assert cli.main(["check", "--policy", str(policy), "--records", str(records)]) == cli.FINE
    assert not ran.exists()


def test_only_the_class_that_was_named_is_made(theirs, ran, tmp_path):
    """A trusted file may have functions that nobody means to have called."""
    weights = theirs / "network/network.safetensors"
    network, provenance = load_network(weights, ["own/net.py:Net"])
    ran.unlink()
    for name in ("own/net.py:cleanup", "own/other.py:cleanup"):
        save_network(network, weights, provenance | {"network": name, "arguments": {"folder": "x"}})
        with pytest.raises(InputError, match="which runs only if you name it"):
            load_network(weights, ["own/net.py:Net"])
    assert not ran.exists()
    assert not (tmp_path / "cleaned").exists()


def test_a_trusted_file_that_is_another_is_not_run_nor_one_beside_the_weights(theirs, ran):
    Path("own/net.py").write_text(CODE.format(ran=str(ran)).replace("width=6", "width=7"))
    fingerprint._read.cache_clear()
    with pytest.raises(InputError, match=r"own/net\.py was changed since this network was saved"):
        load_network(theirs / "network/network.safetensors", ["own/net.py:Net"])
    Path("own/net.py").unlink()
    with pytest.raises(InputError, match=r"in own/net\.py, which is missing"):
        load_network(theirs / "network/network.safetensors", ["own/net.py:Net"])
    assert not ran.exists()


@pytest.mark.parametrize(
    "text", ["own/net.py", "Net", "own/net.py:", "own/net.txt:Net", "a.py:x y"]
)
def test_what_names_no_class_is_a_wrong_call(theirs, text, capsys):
    with pytest.raises(SystemExit):
        told_to("predict", theirs, "--trust-code", text)
    assert "is not path/to/file.py:ClassName" in capsys.readouterr().err


def test_a_teacher_is_made_only_by_code_that_the_configuration_names(theirs, ran):
    path = theirs / "network/network.safetensors"
    manifest = {"classes": 4, "shape": SHAPE, "digest": "d"}
    with pytest.raises(InputError, match=r"the network\.name of an experiment in config\.yaml"):
        network_train.load_teacher(path, manifest, {}, [])
    assert not ran.exists()
    assert network_train.load_teacher(path, manifest, {}, ["own/net.py:Net"]) is not None


def rules_by_script() -> dict[str, list[str]]:
    """Text of each rule, by its script."""
    found: dict[str, list[str]] = {}
    for file in (ROOT / "rules").glob("*.smk"):
        for text in re.split(r"^(?=rule \w+:)", file.read_text(), flags=re.MULTILINE):
            for name in re.findall(r'"\.\./scripts/(\w+\.py)"', text):
                found.setdefault(name, []).append(text)
    return found


def test_every_step_that_loads_a_network_gets_the_trusted_files():
    rules, loading = rules_by_script(), set()
    for script in (ROOT / "scripts").glob("*.py"):
        for call in ast.walk(ast.parse(script.read_text())):
            if not isinstance(call, ast.Call):
                continue
            if ast.unparse(call.func) == "load_network":
                loading.add(script.name)
                assert len(call.args) == 2, f"{script.name}: {ast.unparse(call)}"
                assert "trusted" in ast.unparse(call.args[1]), script.name
            if "load_network" in map(ast.unparse, call.args):
                # Which hands on `trusted`: see below.
                loading.add(script.name)
                assert ast.unparse(call.func) in ("inputs.network", "inputs.other_networks")
    for call in ast.walk(ast.parse((ROOT / "scripts/job/inputs.py").read_text())):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "load":
            assert ast.unparse(call) == "load(path, self.params.trusted)"
    assert {"exits.py", "network_train.py", "evaluation.py"} <= loading
    for name in loading:
        for text in rules[name]:
            assert re.search(r"^        trusted=trusted,$", text, re.MULTILINE), name


def test_the_configuration_names_the_files_of_all_its_experiments():
    (own,) = re.findall(
        r"^def trusted\(.*?(?=^\S)",
        (ROOT / "rules/common.smk").read_text(),
        re.DOTALL | re.MULTILINE,
    )
    names = {"a": "own/a.py:A", "b": "branchynet", "c": "own/c.py:C", "d": "own/a.py:A"}
    experiments = {key: {"network": {"name": name}} for key, name in names.items()}
    scope = {"EXPERIMENTS": experiments, "NETWORKS": list(names), "code_file": code_file}
    exec(own, scope)
    assert scope["trusted"](SimpleNamespace(), None) == ["own/a.py:A", "own/c.py:C"]


def test_a_plan_reads_a_networks_file_and_does_not_run_it(theirs, ran):
    file = CodeFile(Path("own/net.py"), "Net")
    file.check()
    file.fingerprint()
    describe_network({"name": "own/net.py:Net"})
    assert not ran.exists()


# --- other files ------------------------------------------------------------------------------


def test_a_state_of_training_is_read_as_tensors_alone(tmp_path, ran):
    saved = SavedState(tmp_path / "training_state.pt", {})
    torch.save({"identity": saved._text(), "state": Touches(ran)}, saved.path)
    assert saved.load() is None
    assert not ran.exists()


def hostile_parquet(path: Path, ran: Path) -> Path:
    """A column of a type that PyArrow once unpickled when it read the file."""
    metadata = {
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Touches(ran)),
    }
    field = pa.field("index", pa.int64(), metadata=metadata)
    schema = pa.schema([field], metadata={"early_exit": "{}"})
    pq.write_table(pa.table([pa.array([0, 1])], schema=schema), path)
    return path


def test_pickled_objects_in_records_are_not_loaded(tmp_path, ran):
    path = hostile_parquet(tmp_path / "calibration.parquet", ran)
    for read in (read_records, read_external_records):
        with pytest.raises(InputError):
            read(path)
    objects = np.array([[[Touches(ran)] * 3] * 2] * 4, dtype=object)
    np.savez(tmp_path / "new.npz", logits=objects, labels=np.arange(4))
    with pytest.raises(InputError):
        read_external_records(tmp_path / "new.npz")
    assert not ran.exists()


def test_a_policy_is_text(tmp_path, ran):
    (tmp_path / "selection").mkdir()
    path = tmp_path / "selection/policy.json"
    path.write_bytes(pickle.dumps(Touches(ran)))
    with pytest.raises(InputError, match="cannot be read as JSON"):
        read_experiment(str(path))
    assert not ran.exists()


def test_arrays_of_objects_are_no_data_set(tmp_path, ran):
    objects = np.array([Touches(ran)] * 4, dtype=object)
    np.savez(tmp_path / "data.npz", images=objects, labels=np.arange(4))
    settings = {"name": "npz", "calibration": None, "test": None, "split_seed": 42}
    with pytest.raises(InputError):
        load_split(tmp_path / "data.npz", "train", settings)
    assert not ran.exists()


def test_pickles_of_cifar_are_read_if_they_are_the_published_ones(tmp_path, ran):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"]:
        (folder / name).write_bytes(pickle.dumps(Touches(ran)))
    settings = {"name": "cifar10", "calibration": None, "test": None, "split_seed": 42}
    for split in ("train", "test"):
        with pytest.raises(InputError, match="missing or damaged"):
            load_split(tmp_path, split, settings)
    assert not ran.exists()


def test_an_operator_that_onnxruntime_does_not_know_is_refused(tmp_path):
    kind = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(name, kind, [1]) for name in ("input", "output")]
    node = onnx.helper.make_node("Run", ["input"], ["output"], domain="my.programs")
    graph = onnx.helper.make_graph([node], "stage_1", ends[:1], ends[1:])
    imports = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("my.programs", 1)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=imports, ir_version=10), tmp_path / "s.onnx"
    )
    with pytest.raises(Exception, match=r"my\.programs"):
        onnxruntime.InferenceSession(str(tmp_path / "s.onnx"), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("changed", ["runner", "images", "criteria/gate"])
def test_code_of_an_export_that_is_not_the_projects_is_not_run(tmp_path, ran, changed):
    own = code()
    (tmp_path / "criteria").mkdir()
    for name, content in own.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"manifest\.json: No such file"):
        export_check.runner_of(tmp_path, 1)
    file = tmp_path / f"{changed}.py"
    file.write_text(f"open({str(ran)!r}, 'w')\n{own[f'{changed}.py'].decode()}")
    with pytest.raises(InputError, match=rf"{changed}\.py: not this project's \w+, and code"):
        export_check.runner_of(tmp_path, 1)
    assert not ran.exists()


def test_modules_in_the_working_folder_are_not_imported(tmp_path, ran):
    for name in ("json", "argparse", "torch", "numpy", "early_exit"):
        (tmp_path / f"{name}.py").write_text(f"open({str(ran)!r}, 'w')\n")
    command = [sys.executable, ROOT / "scripts/early-exit", "predict", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "--trust-code" in done.stdout, done.stderr
    assert not ran.exists()


# --- checksums --------------------------------------------------------------------------------


def test_a_checksum_finds_accidents(theirs):
    weights = theirs / "network/network.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="the checksum does not fit"):
        load_network(weights, ["own/net.py:Net"])
    policy = theirs / "selection/policy.json"
    policy.write_text(policy.read_text().replace("0.5", "0.6"))
    with pytest.raises(InputError, match="its checksum does not match"):
        read_experiment(str(policy))


def test_a_checksum_does_not_find_intent(theirs):
    weights, policy = theirs / "network/network.safetensors", theirs / "selection/policy.json"
    network, provenance = load_network(weights, ["own/net.py:Net"])
    with torch.no_grad():
        network.heads[0].bias += 100
    save_network(network, weights, provenance)
    content = read_json(policy)
    content["identity"]["network"] = sha256(weights)
    write_json(policy, content)
    experiment = read_experiment(str(policy))
    again, _ = load_network(experiment.network_file(), ["own/net.py:Net"])
    assert torch.equal(again.heads[0].bias, network.heads[0].bias)


def test_the_page_shows_the_messages():
    page = (ROOT / "docs/trust.md").read_text()
    for text in ("its network is code in a file", "--trust-code own/net.py:Net", "trusted=["):
        assert text in page
    for other in ("deployment", "networks"):
        assert "(trust.md)" in (ROOT / f"docs/{other}.md").read_text()
