"""Experiments run by onnxruntime in int8: what is made again, and what runs as it was recorded."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import SMALL, Project
from early_exit.cli import main as cli
from early_exit.config.runtimes import PAIRS

pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.thorough


def test_every_runtime_has_its_rows(extras_once):
    table = pd.read_csv(extras_once.path("runtimes/runtimes.csv"), comment="#")
    pairs = [(name, one) for name, own in PAIRS.items() for one in own]
    found = list(table[["backend", "precision"]].drop_duplicates().itertuples(index=False))
    missing = {*pairs} - {*map(tuple, found)}
    # Without OpenVINO the others are there.
    assert {name for name, _ in missing} <= {"openvino"}
    assert len(table) == len(found) * len(SMALL["speed"]["batch_sizes"])
    assert (table[["ms_full", "ms_policy", "ms_ideal", "file_mb"]] > 0).all(axis=None)
    assert table.speedup.to_numpy() == pytest.approx((table.ms_full / table.ms_policy).to_numpy())
    fp32 = table[(table.backend == "torch") & (table.precision == "fp32")]
    assert (fp32.accuracy == fp32.accuracy_fp32_policy).all()
    assert "In batches of 1 the fastest is" in extras_once.path("figures/runtimes.txt").read_text()


@pytest.fixture(scope="module")
def in_int8(extras_once, tmp_path_factory) -> Project:
    """The finished run, with another backend and precision: only what depends on them is made."""
    folder = tmp_path_factory.mktemp("int8")
    shutil.copytree(extras_once.folder, folder, symlinks=True, dirs_exist_ok=True)
    project = Project(folder)
    inference = {"backend": "onnxruntime", "precision": "int8"}
    project.configure(run="small", experiments={"small": SMALL | {"inference": inference}})
    planned = project.planned("evaluate")
    assert {"record_exits", "measure_cost", "select_policy", "evaluate_policy"} <= planned.keys()
    assert not {"train_network", "write_graphs", "quantize_graphs"} & planned.keys()
    project.run("--cores", "2", "evaluate", "export", check=True)
    return project


def test_a_run_in_int8_is_its_simulation(in_int8):
    found = json.loads(in_int8.path("evaluation/evaluation.json").read_text())
    assert found["agreement"]["different"] == 0
    assert found["agreement"]["equal"] >= 190
    assert found["identity"]["engine"].startswith("onnxruntime:int8:")
    assert found["timing"]["backend"] == "onnxruntime"
    assert in_int8.planned("evaluate") == {}


def test_the_export_has_the_graphs_and_the_policy_of_int8(in_int8):
    manifest = json.loads(in_int8.path("export/manifest.json").read_text())
    assert (manifest["backend"], manifest["precision"]) == ("onnxruntime", "int8")
    for name in manifest["graphs"]["stages"]:
        own = in_int8.path("quantize/parts") / name.rpartition("/")[2]
        assert in_int8.path(f"export/{name}").read_bytes() == own.read_bytes()
    comparison = json.loads(in_int8.path("export/comparison.json").read_text())
    assert comparison["agreement"]["different"] == 0


def test_the_policy_predicts_in_int8(in_int8, tmp_path, capsys):
    for number in range(4):
        values = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / f"{number}.png")
    policy = in_int8.path("selection/policy.json")
    done = []
    for runner in ("predict", "runner"):
        if runner == "predict":
            assert cli.main(["predict", str(tmp_path), "--json", "--policy", str(policy)]) == 0
            rows = map(json.loads, capsys.readouterr().out.splitlines())
            done.append([(row["class"], row["exit"]) for row in rows])
            continue
        # What ships does the same.
        command = [sys.executable, in_int8.path("export/runner.py"), tmp_path]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        cells = [line.split("\t") for line in shown.splitlines()]
        done.append([(name, int(taken.removeprefix("exit "))) for _, name, taken, _ in cells])
    assert len(done[0]) == 4
    assert done[0] == done[1]
    # The graphs that it was found for, and no others.
    listed = in_int8.path("quantize/graphs.json")
    content = listed.read_bytes()
    listed.write_bytes(content + b"\n")
    assert cli.main(["predict", str(tmp_path), "--policy", str(policy)]) == cli.NOTHING_DONE
    assert "not the graphs that" in capsys.readouterr().err
    listed.write_bytes(content)


def test_records_of_another_precision_are_refused(in_int8, extras_once):
    """Copied into the folder, where nothing tells that they are out of date but themselves."""
    records = "exits/test.parquet"
    in_int8.path(records).write_bytes(extras_once.path(records).read_bytes())
    done = in_int8.run("--cores", "2", "evaluate", "--rerun-triggers", "mtime")
    assert done.returncode != 0
    assert "made with another backend or precision (inference) than" in done.stderr
