"""Networks whose inputs or features are structures, exported: equal to torch, sample by sample."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch

from early_exit.export.check import as_arrays
from early_exit.export.graphs import CODE, export
from early_exit.inference.engine import Engine
from early_exit.inference.exits import all_outputs
from early_exit.inference.runner import run_policy
from early_exit.io.files import write_json
from early_exit.networks.base import MultiExitNetwork
from early_exit.networks.checks import check
from early_exit.networks.custom import adopt
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.records.table import from_logits
from early_exit.structures.inputs import InputSpec
from helpers import PROVENANCE
from structured import NETWORKS, classes_of, samples_of

SAMPLES = 60


@pytest.fixture(scope="module")
def module():
    """The exported runner, as a module."""
    spec = importlib.util.spec_from_file_location("runner", CODE["runner.py"])
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports by the network's name: folder, network, inputs, policy, engine."""
    made = {}

    def of(name, measure="margin"):
        if (name, measure) not in made:
            folder = tmp_path_factory.mktemp("structured")
            made[name, measure] = export_of(name, folder, measure)
        return made[name, measure]

    return of


def export_of(name, folder, measure):
    maker, kind = NETWORKS[name]
    inputs, labels = samples_of(kind, SAMPLES)
    images = kind == "images"
    spec = InputSpec.of(inputs.shape[1:]) if images else InputSpec.of_samples(inputs)
    torch.manual_seed(0)
    network = adopt(maker(classes_of(kind), spec.shapes), MultiExitNetwork)
    check(network, classes_of(kind), spec)
    engine = Engine(images=images)
    logits, confidence = all_outputs(network, inputs, 32, engine)
    given = np.arange(SAMPLES), labels.numpy(), logits, {}
    records = from_logits(*given, confidence=confidence)
    unsure = ExitCriterion(measure).uncertainty(records)
    policy = Policy(
        ExitCriterion(measure), tuple(float(np.quantile(unsure[:, k], 0.4)) for k in range(2))
    )
    content = {
        "policy": policy.to_json(),
        "identity": PROVENANCE,
        "calibration": {"accuracy": 0.5},
    }
    write_json(folder / "policy.json", content)
    manifest = {"class_names": list("abcde"), "dataset": "some", **spec.described()}
    (folder / "export").mkdir()
    export(network, folder / "policy.json", content, manifest, folder / "export")
    return folder / "export", network, inputs, policy, engine


@pytest.mark.parametrize("name", NETWORKS)
def test_the_exported_runner_equals_torch(exported, module, name):
    folder, network, inputs, policy, engine = exported(name)
    expected = run_policy(network, policy, inputs, 16, engine)
    runner = module.EarlyExitRunner(folder)
    for batch_size in (1, 8, 16, SAMPLES):
        prediction, exits, uncertainty = runner.run(as_arrays(inputs), batch_size)
        np.testing.assert_array_equal(prediction, expected.prediction)
        np.testing.assert_array_equal(exits, expected.exit)
        np.testing.assert_allclose(uncertainty, expected.uncertainty, atol=1e-5)
    assert set(exits) == {0, 1, 2}


@pytest.mark.parametrize("name", ["confidence", "some of both"])
def test_an_exported_confidence_equals_torch(exported, module, name):
    test_the_exported_runner_equals_torch(lambda own: exported(own, "confidence"), module, name)


@pytest.mark.parametrize("name", ["cascade", "some of both"])
@pytest.mark.parametrize("off", [0, 1])
def test_an_exported_cascade_runs_the_heads_that_later_ones_need(exported, module, name, off):
    folder, network, inputs, policy, engine = exported(name)
    thresholds = [*policy.thresholds]
    thresholds[off] = "never"
    other = Policy(policy.criterion, tuple(thresholds))
    expected = run_policy(network, other, inputs, 16, engine)
    runner = module.EarlyExitRunner(folder)
    runner.thresholds[off] = -np.inf
    runner.decides[off] = False
    prediction, exits, uncertainty = runner.run(as_arrays(inputs), 16)
    np.testing.assert_array_equal(prediction, expected.prediction)
    np.testing.assert_array_equal(exits, expected.exit)
    np.testing.assert_allclose(uncertainty, expected.uncertainty, atol=1e-5)
    assert set(exits) == {0, 1, 2} - {off}


def test_a_dictionary_may_be_in_any_order_and_of_narrower_integers(exported, module):
    folder, _, inputs, _, _ = exported("masked transformer")
    runner = module.EarlyExitRunner(folder)
    first = runner.run(as_arrays(inputs))
    turned = {"mask": inputs["mask"].numpy(), "tokens": inputs["tokens"].numpy().astype("int16")}
    for one, other in zip(first, runner.run(turned), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda own: {"tokens": own["tokens"]}, "inputs are mask, tokens, not tokens"),
        (lambda own: own | {"mask": own["mask"][:, :7]}, r"mask must be bool \(N, 8\)"),
        (lambda own: own | {"tokens": own["tokens"] / 2}, r"tokens must be int64 \(N, 8\)"),
        (lambda own: own | {"mask": own["mask"][:5]}, "as many rows each"),
    ],
)
def test_other_inputs_are_refused(exported, module, change, message):
    folder, _, inputs, _, _ = exported("masked transformer")
    with pytest.raises(ValueError, match=message):
        module.EarlyExitRunner(folder).run(change(as_arrays(inputs)))


def test_arrays_in_a_file_are_classified(exported, tmp_path):
    folder, _, inputs, _, _ = exported("masked transformer")
    np.savez(tmp_path / "some.npz", **as_arrays(inputs))
    command = [sys.executable, str(folder / "runner.py"), "--npz", str(tmp_path / "some.npz")]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == SAMPLES
    assert lines[3].split("\t")[0] == "3"
    bad = subprocess.run(
        [*command[:-1], str(tmp_path / "none.npz")], capture_output=True, text=True
    )
    assert bad.returncode == 2
    assert "no inputs of this network" in bad.stderr


def test_the_readme_says_what_it_takes(exported):
    text = (exported("masked transformer")[0] / "README.md").read_text()
    assert "`mask` (bool, 8), `tokens` (int64, 8)" in text
    assert "runner.run(inputs)" in text
