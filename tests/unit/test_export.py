"""The exported network, run without torch, does what the network does under torch."""

import importlib.util
import json
import pkgutil
import re
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from early_exit import deployed, networks
from early_exit.engine import REFERENCE
from early_exit.errors import InputError
from early_exit.evaluation import near_threshold
from early_exit.export import export, export_graphs
from early_exit.export_check import agreement
from early_exit.extraction import all_exits
from early_exit.files import sha256, write_json
from early_exit.inference import run_policy
from early_exit.outcomes import Outcomes
from early_exit.pictures import read_picture
from early_exit.policy import ExitRule, Policy
from early_exit.records import from_logits
from export_check import run_export
from helpers import IDENTITY, SmallNetwork, make_records, pictures
from workflow.damage import broken

RUNNER = Path(deployed.__file__).parent / "runner.py"
MODULES = (module.name for module in pkgutil.iter_modules(networks.__path__))
NAMES = [n for n in MODULES if hasattr(import_module(f"early_exit.networks.{n}"), "Network")]
MANIFEST = {"shape": [3, 2, 2], "class_names": ["a", "b", "c", "d"], "dataset": "some"}
# Nobody, some and everybody; under both rules.
POLICIES = [
    Policy("entropy", ExitRule.BELOW, (0.9, 0.9)),
    Policy("margin", ExitRule.BELOW, (-np.inf, 0.6), (0.8, 1.5, 2.0)),
    Policy("max_probability", ExitRule.ABOVE, (0.5, -np.inf)),
    Policy("entropy", ExitRule.ABOVE, (np.inf, np.inf)),
]


def runner_module(path=RUNNER):
    spec = importlib.util.spec_from_file_location("runner", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exported(network, policy, folder, manifest=MANIFEST):
    """The export of a network in a folder."""
    folder.mkdir()
    content = {
        "policy": policy.to_json(),
        "identity": IDENTITY,
        "calibration": {"accuracy": 0.5},
    }
    write_json(folder.parent / "policy.json", content)
    export(network, folder.parent / "policy.json", content, manifest, folder)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small network, exported."""
    folder = tmp_path_factory.mktemp("small") / "export"
    return exported(SmallNetwork().eval(), POLICIES[0], folder)


@pytest.fixture
def copied(small, tmp_path):
    """A copy of that export, to be changed."""
    return shutil.copytree(small, tmp_path / "export")


def test_the_export_runs_a_batch_at_a_time():
    """A split that is read as it is asked for is no array, and need not fit into memory."""
    given = []

    class Lazy:
        def __len__(self):
            return 10

        def __getitem__(self, rows):
            return torch.arange(10)[rows]

    def run(images, batch_size):
        given.append(images.tolist())
        return images, images + 1, images + 2

    found = run_export(run, Lazy(), 4)
    assert given == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert found.prediction.tolist() == list(range(10))
    assert found.uncertainty.tolist() == list(range(2, 12))


def changed(folder, policy=None, **inputs):
    """The runner of an export that has another policy, or takes its input otherwise."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["seal"]
    manifest["input"] |= inputs
    if policy:
        write_json(folder / "policy.json", {"policy": policy.to_json(), "identity": IDENTITY})
        manifest["files"]["policy.json"] = sha256(folder / "policy.json")
    write_json(folder / "manifest.json", manifest)
    return runner_module(folder / "runner.py").EarlyExitRunner(folder)


def test_every_policy_gives_the_exits_and_classes_of_torch(copied):
    network = SmallNetwork().eval()
    for policy in POLICIES:
        runner = changed(copied, policy)
        assert [head is not None for head in runner.heads] == list(policy.heads_run)
        for samples, batch_size in ((1, 1), (2, 2), (7, 3), (64, 64), (65, 128)):
            images = pictures(samples, seed=samples)
            own = Outcomes(*runner.run(images.numpy(), batch_size))
            run = run_policy(network, policy, images, batch_size, REFERENCE)
            np.testing.assert_array_equal(own.exit, run.exit)
            np.testing.assert_array_equal(own.prediction, run.prediction)
            np.testing.assert_allclose(own.uncertainty, run.uncertainty, atol=2e-6)
    assert 0 < (own.exit == 2).mean() <= 1


def test_no_pictures_are_no_results(small):
    results = runner_module().EarlyExitRunner(small).run(np.zeros((0, 3, 2, 2), np.uint8))
    assert [len(result) for result in results] == [0, 0, 0]


@pytest.mark.parametrize("images", [np.zeros((1, 3, 2, 3), np.uint8), np.zeros((1, 3, 2, 2))])
def test_what_are_no_pictures_of_the_network_is_refused(small, images):
    with pytest.raises(ValueError, match="uint8"):
        runner_module().EarlyExitRunner(small).run(images)


def test_pictures_are_normalised_where_the_data_set_says_so(copied):
    network, policy = SmallNetwork().eval(), POLICIES[0]
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    runner = changed(copied, mean=mean, std=std)
    images = pictures(50)
    given = (images / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.inference_mode():
        logits = network(given).numpy()
    records = from_logits(np.arange(50), np.arange(50) % 4, logits, dict(IDENTITY))
    taken = policy.exits_taken(records.uncertainty("entropy"))
    prediction, exits, _ = runner.run(images.numpy())
    np.testing.assert_array_equal(exits, taken)
    np.testing.assert_array_equal(prediction, records.prediction[np.arange(50), taken])


@pytest.mark.parametrize("name", NAMES)
def test_the_networks_of_the_project_in_batches_of_any_size(name, tmp_path):
    torch.manual_seed(0)
    network = networks.build(name, 10, [3, 32, 32])
    images = torch.randint(0, 256, (33, 3, 32, 32), dtype=torch.uint8)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    logits = all_exits(network, images, 33, REFERENCE)
    records = from_logits(np.arange(33), np.arange(33) % 10, logits, dict(IDENTITY))
    # At each exit about a third of those that are left leaves.
    thresholds = np.quantile(records.entropy[:, :-1], 0.35, axis=0)
    policy = Policy("entropy", ExitRule.BELOW, tuple(thresholds))
    manifest = {"shape": [3, 32, 32], "class_names": list("0123456789")}
    runner = runner_module().EarlyExitRunner(
        exported(network, policy, tmp_path / "export", manifest), threads=2
    )
    near = near_threshold(policy, records.entropy.astype(np.float64)).any(axis=1)
    for batch_size in (1, 2, 7, 33):
        prediction, exits, _ = runner.run(images.numpy(), batch_size)
        taken = policy.exits_taken(records.entropy)
        same = (exits == taken) & (prediction == records.prediction[np.arange(33), taken])
        assert (same | near).all()
    assert len(set(taken)) > 2


def test_graphs_say_nothing_of_where_they_were_made(small):
    """Notes of the exporter name files and folders."""
    for path in sorted(small.rglob("*.onnx")):
        model = onnx.load(path)
        assert not [node for node in model.graph.node if node.metadata_props]
        content = path.read_bytes()
        for word in (b"early_exit", b".py", str(Path.home()).encode(), b"site-packages"):
            assert word not in content, (path, word)


def test_an_export_is_the_same_every_time(small, tmp_path):
    network = SmallNetwork().eval()
    network.stages, network.heads = network.stages[:1], network.heads[:1]
    for names in export_graphs(network, [3, 2, 2], tmp_path / "graphs").values():
        for name in names:
            assert (tmp_path / name).read_bytes() == (small / name).read_bytes()


def test_damaged_files_are_named_before_they_are_used(copied):
    folder = copied
    module = runner_module()
    for name in ("graphs/stage_2.onnx", "graphs/head_1.onnx", "policy.json", "manifest.json"):
        path = folder / name
        whole = path.read_bytes()
        for what, content in [*broken(path), ("gone", None)]:
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            try:
                module.EarlyExitRunner(folder)
            except module.ExportError as error:
                assert re.fullmatch(rf"{re.escape(str(path))}: .*export it again", str(error)), what
            else:
                # A flipped bit in a blank of JSON changes nothing.
                assert path.suffix == ".json", what
                assert json.loads(content) == json.loads(whole), what
            path.write_bytes(whole)
    module.EarlyExitRunner(folder)


def test_the_runner_reads_pictures_as_the_project_does(small, tmp_path):
    runner = runner_module().EarlyExitRunner(small)
    rng = np.random.default_rng(0)
    for number, shape in enumerate([(2, 2, 3), (9, 5, 3), (4, 30, 3), (6, 6)]):
        tags = Image.Exif()
        tags[0x0112] = 1 + 2 * number
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path, exif=tags)
        np.testing.assert_array_equal(runner.read(path), read_picture(path, [3, 2, 2]))


class Unknown(nn.Module):
    """What ONNX has no operator for."""

    def forward(self, features):
        return torch.linalg.eigvals(features[:, 0]).real


def test_what_cannot_be_exported_is_named(tmp_path):
    network = SmallNetwork()
    network.stages, network.heads = network.stages[:1], network.heads[:1]
    network.heads[0] = nn.Sequential(nn.Unflatten(1, (3, 2, 2)), Unknown())
    with pytest.raises(InputError, match="head_1 cannot be written as ONNX") as error:
        export_graphs(network, [3, 2, 2], tmp_path / "graphs")
    assert "\n" not in str(error.value)


def test_agreement_counts_ties_apart():
    records = make_records()
    policy = Policy("entropy", ExitRule.BELOW, (float(records.entropy[0, 0]), 0.7))
    taken = policy.exits_taken(records.entropy)
    prediction = records.prediction[np.arange(60), taken]
    one = Outcomes(prediction, taken, prediction * 0.0)
    other = Outcomes(prediction.copy(), taken.copy(), prediction * 0.0)
    other.exit[0] += 1
    far = int(np.flatnonzero(~near_threshold(policy, records.entropy).any(axis=1))[0])
    other.prediction[far] += 1
    found = agreement(policy, records, one, other)
    assert (found.equal, found.ties, found.different) == (58, 1, 1)
    with pytest.raises(InputError, match="runs of 59 and 60 samples, 60 records"):
        agreement(policy, records, Outcomes(prediction[1:], taken[1:], taken[1:]), other)
