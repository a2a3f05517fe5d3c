"""The experiment `intents` on the real queries: run, export, new texts, drift."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import early_exit as ee
from conftest import ROOT, copy_of_project
from early_exit.analysis.drift import compare
from early_exit.datasets import clinc150
from early_exit.records.parquet import read_records

pytestmark = pytest.mark.thorough

CHECKPOINT = "checkpoints/intent_encoder-clinc150.safetensors"
QUICK = {"cost": {"repeats": 3, "batch_sizes": [1, 32]}, "frontier": {"methods": []}}


@pytest.fixture(scope="module")
def data_dir(cifar10_dir):
    if not (cifar10_dir / "clinc150").is_dir():
        pytest.skip(f"CIFAR10_DIR={cifar10_dir} has no clinc150")
    return cifar10_dir


@pytest.fixture(scope="module")
def intents(data_dir, tmp_path_factory):
    """A finished run of `intents`, with its export."""
    project = copy_of_project(tmp_path_factory.mktemp("intents"))
    (project.folder / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    (project.folder / "checkpoints").mkdir()
    shutil.copy(ROOT / CHECKPOINT, project.folder / CHECKPOINT)
    quick = json.dumps({"experiments": {"intents": QUICK}})
    (project.folder / "quick.yaml").write_text(quick)
    given = ("--config", "run=intents", f"data_dir={data_dir}")
    project.run("--cores", "2", "all", "export", "--configfile", "quick.yaml", *given, check=True)
    return project


def results(project, name):
    return json.loads((project.folder / "results/intents" / name).read_text())


def test_it_runs_as_simulated_and_is_exported(intents):
    found = results(intents, "evaluation/evaluation.json")["agreement"]
    assert found["equal"] + found["ties"] == 4500
    assert results(intents, "export/comparison.json")["agreement"]["different"] == 0


def test_its_figures_are_those_of_the_readme(intents):
    summary = results(intents, "summary.json")
    accuracy = summary["full_network"]["accuracy"]
    assert accuracy >= 0.93
    assert summary["selected"]["accuracy"] >= accuracy - 0.005
    assert summary["selected"]["macs"] <= 0.4 * summary["full_network"]["macs"]
    assert (ROOT / CHECKPOINT).stat().st_size <= 10_000_000


def early_exit(project, *arguments, lines=()):
    command = [sys.executable, "scripts/early-exit", *arguments]
    text = "\n".join(lines)
    return subprocess.run(command, cwd=project.folder, input=text, capture_output=True, text=True)


def test_a_text_is_classified(intents):
    policy = ("--policy", "results/intents/selection/policy.json")
    found = early_exit(
        intents, "predict", "--json", *policy, lines=["how do you say thank you in french"]
    )
    assert json.loads(found.stdout)["class"] == "translate", found.stderr


def test_queries_of_no_intent_are_drift_and_unseen_ones_of_an_intent_are_not(intents, data_dir):
    policy = ("--policy", "results/intents/selection/policy.json")
    for name, queries, status in (
        ("out of scope", clinc150.out_of_scope(data_dir, "test"), 3),
        ("unseen", clinc150.queries(data_dir, "test")[0], 0),
    ):
        made = early_exit(intents, "record", *policy, "--output", "new.parquet", lines=queries)
        assert made.returncode == 0, made.stderr
        checked = early_exit(intents, "check", *policy, "--records", "new.parquet")
        assert checked.returncode == status, (name, checked.stdout, checked.stderr)


def test_the_held_out_half_of_validation_is_no_drift(intents):
    run = ee.load(intents.folder / "results/intents")
    records = read_records(
        intents.folder / "results/intents/exits/calibration.parquet", logits=True
    )
    order = np.random.default_rng(0).permutation(len(records))
    first, second = (records.select(half) for half in np.split(order, 2))
    assert not compare(run.policy, first, second).found
