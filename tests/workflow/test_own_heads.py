"""A network whose heads take earlier logits and return a confidence, as docs/networks.md has it."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from test_bad_input import fails
from test_networks_page import block
from test_own_network import QUICK, digits

from conftest import copy_of_project
from early_exit.cli import main as cli
from early_exit.io.files import read_json, write_json
from early_exit.policy.policy import Policy
from early_exit.records.parquet import read_records

pytestmark = pytest.mark.thorough

CLASS = "class Cascade"
SAMPLES = 200
COMPARED = [f"results/small/{name}.json" for name in ("evaluation/evaluation", "export/comparison")]


def prepare(project, text):
    """The page's network and images, and its experiment in small."""
    (project.folder / "own").mkdir()
    (project.folder / "own/cascade.py").write_text(text)
    images, labels = digits(700)
    arrays = {"images": images.permute(0, 2, 3, 1).numpy(), "labels": labels.numpy()}
    arrays |= {"test_images": arrays["images"][500:], "test_labels": arrays["labels"][500:]}
    np.savez(project.folder / "own/images.npz", **arrays)
    own = yaml.safe_load(block("yaml", "  cascade:"))["cascade"]
    own |= QUICK
    own["training"] |= {"epochs": 12, "batch_size": 32}
    own["dataset"] |= {"calibration": 200}
    own["calibration"] = {"methods": ["coordinate"], "targets": [{"drop": 0.02}]}
    own["selection"] = {"criterion": "fastest", "accuracy_floor": 0.1}
    project.configure(run="small", experiments={"small": own})
    return own


@pytest.fixture(scope="module")
def cascade(tmp_path_factory):
    """Calibrated with both measures; a policy by one, the first exit off, run and exported."""
    project = copy_of_project(tmp_path_factory.mktemp("cascade"))
    own = prepare(project, block("python", CLASS))
    project.run("--cores", "2", "select", check=True)
    path = project.path("selection/policy.json")
    content = read_json(path)
    records = read_records(project.path("exits/calibration.parquet"))
    middle = float(np.median(records.uncertainty_by("confidence")[:, 1]))
    content["policy"] |= {"measure": "confidence", "thresholds": ["never", middle]}
    write_json(path, content)
    project.run("--cores", "2", *COMPARED, check=True)
    return project, own


def read(project, name):
    return json.loads(project.path(name).read_text())


def check_agreement(project):
    """Run and export equal the simulation of every sample; returns policy and exits (from 0)."""
    policy = Policy.from_json(read(project, "selection/policy.json")["policy"])
    agreement = read(project, "evaluation/evaluation.json")["agreement"]
    assert (agreement["different"], agreement["rounded"]) == (0, 0)
    assert agreement["equal"] == SAMPLES
    records = read_records(project.path("exits/test.parquet"), logits=True)
    taken = policy.exits_taken(policy.criterion.uncertainty(records))
    found = pd.read_parquet(project.path("evaluation/samples.parquet"))
    assert (found.exit == taken + 1).all()
    return policy, taken


def test_an_exit_that_is_off_still_serves_later_ones(cascade):
    policy, taken = check_agreement(cascade[0])
    assert policy.measure == "confidence"
    assert {*taken} == {1, 2}
    comparison = read(cascade[0], "export/comparison.json")
    assert comparison["agreement"]["equal"] == SAMPLES
    assert comparison["uncertainty_differs_by"]["at_most"] < 1e-4


def test_both_measures_are_calibrated(cascade):
    project, _ = cascade
    table = pd.read_csv(project.path("calibration/coordinate.csv"), comment="#")
    assert {*table.measure} == {"margin", "confidence"}
    records = read_records(project.path("exits/test.parquet"))
    assert records.confidence.shape == (SAMPLES, 3)
    assert records.confidence.std() > 0


def test_heads_that_always_run_count_with_their_stage(cascade):
    project, _ = cascade
    table = pd.read_csv(project.path("cost/cost.csv"), comment="#")
    one = table[table.batch_size == 1].set_index(["part", "exit"])
    # Strided convolutions of 16x16 images, and linear layers of 2x2 places, by hand.
    stages = [27 * 8 * 64, 72 * 16 * 16, 144 * 32 * 4]
    heads = [(4 * width + before * 10) * 10 + 4 * width for before, width in enumerate((8, 16, 32))]
    expected = [stages[0] + heads[0], stages[1] + heads[1], stages[2], 0, 0, heads[2]]
    assert [*one.macs["stage"], *one.macs["head"]] == expected
    assert one.ms_per_sample["head", 1] == one.ms_high["head", 2] == 0


def test_new_images_are_recorded_and_checked(cascade, tmp_path, capsys):
    project, _ = cascade
    for number, image in enumerate(digits(700)[0][500:]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{number:03}.png")
    policy = ["--policy", str(project.path("selection/policy.json"))]
    trust = ["--trust-code", str(project.folder / "own/cascade.py:Cascade")]
    new = str(tmp_path / "new.parquet")
    images = ["record", str(tmp_path), "--output", new, "--batch-size", "32"]
    assert cli.main([*images, *policy, *trust]) == cli.FINE
    found, records = (
        read_records(path, labelled=False) for path in (new, project.path("exits/test.parquet"))
    )
    np.testing.assert_allclose(found.confidence, records.confidence, atol=1e-5)
    capsys.readouterr()
    assert cli.main(["check", "--records", new, "--json", *policy]) == cli.FINE
    tests = pd.DataFrame(json.loads(capsys.readouterr().out)["tests"])
    drift = tests[tests.test == "uncertainty"].set_index("exit")
    assert drift.after[2] == pytest.approx(np.median(1 - found.confidence[:, 1]))


def test_the_confidence_alone_is_calibrated_run_and_swept(cascade):
    project, own = cascade
    project.configure(run="small", experiments={"small": own | {"measure": "confidence"}})
    wanted = COMPARED[0], "results/small/sweep/test.csv"
    shown = project.run("--cores", "2", *wanted, check=True).stderr
    assert "rule measure_cost" in shown
    assert "rule train_network" not in shown
    assert "rule record_exits" not in shown
    policy, taken = check_agreement(project)
    assert policy.measure == "confidence"
    assert len({*taken}) > 1
    table = pd.read_csv(project.path("sweep/test.csv"), comment="#")
    test = read_records(project.path("exits/test.parquet")).uncertainty_by("confidence")[:, :2]
    assert table.threshold.min() == pytest.approx(test.min())
    assert table.threshold.max() == pytest.approx(test.max())
    assert table.share_1.max() > 0


def test_a_network_without_confidences_is_refused_before_training(project):
    text = block("python", CLASS).replace("return logits, self.confidence(pooled)", "return logits")
    prepare(project, text.replace("self.confidence =", "#"))
    message = fails(project)
    assert "measure: confidence is what heads return with their logits, but no head" in message
    assert not project.path("network/training_state.pt").exists()
