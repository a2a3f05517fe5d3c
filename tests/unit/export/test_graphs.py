"""The exported network, run without torch, agrees with the network under torch."""

import importlib.util
import json
import pkgutil
import re
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from early_exit.datasets.images import load_image
from early_exit.errors import InputError
from early_exit.export.check import agreement
from early_exit.export.graphs import CODE, CRITERIA, FORMAT, export, export_graphs
from early_exit.inference.engine import REFERENCE
from early_exit.inference.exits import all_exits
from early_exit.inference.runner import run_policy
from early_exit.io.files import sha256, write_json
from early_exit.networks import MultiExitNetwork, zoo
from early_exit.networks.build import build_network
from early_exit.networks.checks import check
from early_exit.networks.memory import kept_contiguous
from early_exit.policy.agreement import near_threshold
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.outcomes import Outcomes
from early_exit.policy.policy import Policy, uniform
from early_exit.records.table import from_logits
from early_exit.records.uncertainty.measures import NAMES as CRITERION_NAMES
from export_check import run_export
from helpers import PROVENANCE, SmallNetwork, a_criterion, make_records, random_images
from workflow.damage import broken

RUNNER = CODE["runner.py"]
MODULES = (module.name for module in pkgutil.iter_modules(zoo.__path__))
# The network of texts has a test of its own.
OTHERS = {"intent_encoder"}
NAMES = [
    name
    for name in MODULES
    if hasattr(import_module(f"early_exit.networks.zoo.{name}"), "Network") and name not in OTHERS
]
MANIFEST = {"shape": [3, 2, 2], "class_names": ["a", "b", "c", "d"], "dataset": "some"}
# No, some and all samples exit early, under both rules.
POLICIES = [
    Policy(ExitCriterion(), (0.9, 0.9)),
    Policy(ExitCriterion("margin", ExitRule.BELOW, (0.8, 1.5, 2.0)), (-np.inf, 0.6)),
    Policy(ExitCriterion("max_probability", ExitRule.ABOVE), (0.5, -np.inf)),
    Policy(ExitCriterion("entropy", ExitRule.ABOVE), (np.inf, np.inf)),
    *(Policy(a_criterion(name), (0.45, -np.inf)) for name in CRITERIA if name in CRITERION_NAMES),
]


def runner_module(path=RUNNER):
    """The runner, of the project or of an export."""
    spec = importlib.util.spec_from_file_location("runner", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exported(network, policy, folder, manifest=MANIFEST, accuracy=0.5):
    """The export of a network in a folder."""
    folder.mkdir()
    content = {
        "policy": policy.to_json(),
        "identity": PROVENANCE,
        "calibration": {"accuracy": accuracy},
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


@pytest.mark.parametrize(("accuracy", "words"), [(0.5, "50.00%"), (None, "not known")])
def test_the_readme_has_the_accuracy_where_it_is_known(tmp_path, accuracy, words):
    """After a recalibration without labels it is not."""
    policy = uniform(ExitCriterion(), 0.5, 3)
    exported(SmallNetwork().eval(), policy, tmp_path / "export", accuracy=accuracy)
    text = (tmp_path / "export/README.md").read_text()
    assert f"the policy on the calibration split: {words}." in text


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
    del manifest["checksum"]
    manifest["input"] |= inputs
    if policy:
        write_json(folder / "policy.json", {"policy": policy.to_json(), "identity": PROVENANCE})
        manifest["files"]["policy.json"] = sha256(folder / "policy.json")
    write_json(folder / "manifest.json", manifest)
    return runner_module(folder / "runner.py").EarlyExitRunner(folder)


def test_every_policy_gives_the_exits_and_classes_of_torch(copied):
    network = SmallNetwork().eval()
    for policy in POLICIES:
        runner = changed(copied, policy)
        assert [head is not None for head in runner.heads] == list(policy.heads_run)
        for samples, batch_size in ((1, 1), (2, 2), (7, 3), (64, 64), (65, 128)):
            images = random_images(samples, seed=samples)
            own = Outcomes(*runner.run(images.numpy(), batch_size))
            run = run_policy(network, policy, images, batch_size, REFERENCE)
            np.testing.assert_array_equal(own.exit, run.exit)
            np.testing.assert_array_equal(own.prediction, run.prediction)
            np.testing.assert_allclose(own.uncertainty, run.uncertainty, atol=2e-6)
    assert 0 < (own.exit == 2).mean() <= 1


def test_an_empty_input_gives_empty_results(small):
    results = runner_module().EarlyExitRunner(small).run(np.zeros((0, 3, 2, 2), np.uint8))
    assert [len(result) for result in results] == [0, 0, 0]


@pytest.mark.parametrize("images", [np.zeros((1, 3, 2, 3), np.uint8), np.zeros((1, 3, 2, 2))])
def test_images_of_another_shape_or_type_are_refused(small, images):
    with pytest.raises(ValueError, match="uint8"):
        runner_module().EarlyExitRunner(small).run(images)


def test_images_are_normalised_if_the_data_set_is(copied):
    network, policy = SmallNetwork().eval(), POLICIES[0]
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    runner = changed(copied, mean=mean, std=std)
    images = random_images(50)
    given = (images / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.inference_mode():
        logits = network(given).numpy()
    records = from_logits(np.arange(50), np.arange(50) % 4, logits, dict(PROVENANCE))
    taken = policy.exits_taken(records.uncertainty_by("entropy"))
    prediction, exits, _ = runner.run(images.numpy())
    np.testing.assert_array_equal(exits, taken)
    np.testing.assert_array_equal(prediction, records.prediction[np.arange(50), taken])


@pytest.mark.parametrize("name", NAMES)
def test_the_networks_of_the_project_in_batches_of_any_size(name, tmp_path):
    torch.manual_seed(0)
    network = build_network(name, 10, [3, 32, 32])
    images = torch.randint(0, 256, (33, 3, 32, 32), dtype=torch.uint8)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    logits = all_exits(network, images, 33, REFERENCE)
    records = from_logits(np.arange(33), np.arange(33) % 10, logits, dict(PROVENANCE))
    # At each exit about a third of the remaining samples exit.
    thresholds = np.quantile(records.uncertainty[:, :-1], 0.35, axis=0)
    policy = Policy(ExitCriterion(), tuple(thresholds))
    manifest = {"shape": [3, 32, 32], "class_names": list("0123456789")}
    runner = runner_module().EarlyExitRunner(
        exported(network, policy, tmp_path / "export", manifest), threads=2
    )
    near = near_threshold(policy, records.uncertainty.astype(np.float64)).any(axis=1)
    for batch_size in (1, 2, 7, 33):
        prediction, exits, _ = runner.run(images.numpy(), batch_size)
        taken = policy.exits_taken(records.uncertainty)
        same = (exits == taken) & (prediction == records.prediction[np.arange(33), taken])
        assert (same | near).all()
    assert len(set(taken)) > 2


def test_graphs_contain_no_paths(small):
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


def rewritten(folder, **changes):
    """The export's manifest, changed, its checksum made anew: what anybody can do."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["checksum"]
    write_json(path, manifest | changes)
    return path


def refused(folder) -> str:
    module = runner_module()
    with pytest.raises(module.ExportError) as error:
        module.EarlyExitRunner(folder)
    message = str(error.value)
    assert message.isprintable()
    return message


def graphs_with(folder, name):
    graphs = json.loads((folder / "manifest.json").read_text())["graphs"]
    return graphs | {"stages": [graphs["stages"][0], name, *graphs["stages"][2:]]}


def test_a_graph_that_the_manifest_does_not_list_is_not_loaded(copied):
    """Not even a whole one that lies in the folder."""
    shutil.copyfile(copied / "graphs/stage_2.onnx", copied / "graphs/other.onnx")
    rewritten(copied, graphs=graphs_with(copied, "graphs/other.onnx"))
    assert "other.onnx: the manifest lists no such file" in refused(copied)
    # Its head, too, and the policy.
    rewritten(copied, graphs=graphs_with(copied, "graphs/stage_2.onnx"))
    files = json.loads((copied / "manifest.json").read_text())["files"]
    for name in ("graphs/head_3.onnx", "policy.json"):
        rewritten(copied, files={other: sha for other, sha in files.items() if other != name})
        assert f"{name}: the manifest lists no such file" in refused(copied)
    rewritten(copied, files=files)
    runner_module().EarlyExitRunner(copied)


@pytest.mark.parametrize("way", ["absolute", "up", "up and down", "backslash", "drive"])
def test_nothing_outside_the_folder_is_loaded(copied, tmp_path, way):
    outside = tmp_path / "outside.onnx"
    shutil.copyfile(copied / "graphs/stage_2.onnx", outside)
    name = {
        "absolute": str(outside),
        "up": "../outside.onnx",
        "up and down": "graphs/../../outside.onnx",
        "backslash": "..\\outside.onnx",
        "drive": "C:outside.onnx",
    }[way]
    files = json.loads((copied / "manifest.json").read_text())["files"]
    # Listed, with the right checksum.
    found = sha256(outside)
    rewritten(copied, graphs=graphs_with(copied, name), files=files | {name: found})
    assert "not in the folder of the export" in refused(copied)


@pytest.mark.parametrize("linked", ["graphs/stage_2.onnx", "graphs", "policy.json"])
def test_links_are_not_followed(copied, tmp_path, linked):
    outside = tmp_path / "outside"
    shutil.move(copied / linked, outside)
    (copied / linked).symlink_to(outside)
    assert "a link; put the file itself there" in refused(copied)


def test_the_folder_of_an_export_may_be_a_link(small, tmp_path):
    (tmp_path / "linked").symlink_to(small)
    runner_module().EarlyExitRunner(tmp_path / "linked")


def test_the_checked_bytes_are_loaded(copied, monkeypatch):
    """Not what stands in its place a moment later."""
    module = runner_module()
    read, swapped = module._read, []

    def swapping(path):
        content = read(path)
        if path.name == "stage_2.onnx":
            swapped.append(path.write_bytes(b"another"))
        return content

    monkeypatch.setattr(module, "_read", swapping)
    with pytest.raises(module.ExportError, match=r"stage_2\.onnx: damaged"):
        module.EarlyExitRunner(copied)
    assert len(swapped) == 2


def test_checksums_are_compared_before_anything_is_parsed(copied, monkeypatch):
    module = runner_module()
    monkeypatch.setattr(module, "_session", lambda *_: pytest.fail("loaded"))
    (copied / "graphs/head_3.onnx").write_bytes(b"another")
    with pytest.raises(module.ExportError, match=r"head_3\.onnx: damaged"):
        module.EarlyExitRunner(copied)


def test_external_weights_are_not_read(copied, monkeypatch):
    """They would be read from the working folder, and nothing checks them."""
    model = onnx.load(copied / "graphs/stage_2.onnx")
    path = copied / "graphs/stage_2.onnx"
    path.unlink()
    options = {"save_as_external_data": True, "size_threshold": 0, "location": "weights.bin"}
    onnx.save_model(model, path, **options)
    files = json.loads((copied / "manifest.json").read_text())["files"]
    files["graphs/stage_2.onnx"] = sha256(path)
    rewritten(copied, files=files)
    for folder in (copied, copied / "graphs", copied.parent):
        monkeypatch.chdir(folder)
        assert re.search(r"stage_2\.onnx: onnxruntime .* cannot load it", refused(copied))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "format 2, but this runner reads 1"),
        ({"format": None}, "format None"),
        ({"graphs": {"stages": [], "heads": []}}, "0 stages and 0 heads, and a policy for 3 exits"),
    ],
)
def test_an_export_that_does_not_fit_is_named(copied, change, says):
    rewritten(copied, **change)
    assert says in refused(copied)


def test_a_graph_that_cannot_be_loaded_is_named(copied):
    path = copied / "graphs/head_1.onnx"
    path.write_bytes(b"no graph")
    files = json.loads((copied / "manifest.json").read_text())["files"]
    rewritten(copied, files=files | {"graphs/head_1.onnx": sha256(path)})
    assert re.search(r"head_1\.onnx: onnxruntime .* cannot load it .*requirements", refused(copied))


def test_the_format_is_that_of_the_exporter():
    assert runner_module().FORMAT == FORMAT


@pytest.mark.parametrize("exit", [1, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_raise(small, monkeypatch, exit, value):
    module = runner_module()
    runner = module.EarlyExitRunner(small)
    runner.thresholds = [0.1, 1e-6]
    head = runner.heads[exit - 1]

    def broken(features):
        (logits,) = head(features)
        logits[0, 0] = value
        return [logits]

    images = random_images(400).numpy()
    assert (runner.run(images, 400)[1] == 2).any()
    runner.heads[exit - 1] = broken
    if exit == 1:
        # The sample does not exit there.
        assert runner.run(images, 400)[1][0] > 0
    else:
        with pytest.raises(module.ExportError, match="exit 3: the logits of a sample are NaN"):
            runner.run(images)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_1_is_refused(small, batch_size):
    """It would give class 0 to all."""
    with pytest.raises(ValueError, match="at least one sample"):
        runner_module().EarlyExitRunner(small).run(random_images(3).numpy(), batch_size)


def test_the_runner_reads_images_as_the_project_does(small, tmp_path):
    runner = runner_module(small / "runner.py").EarlyExitRunner(small)
    rng = np.random.default_rng(0)
    for number, shape in enumerate([(2, 2, 3), (9, 5, 3), (4, 30, 3), (6, 6)]):
        tags = Image.Exif()
        tags[0x0112] = 1 + 2 * number
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path, exif=tags)
        np.testing.assert_array_equal(runner.read(path), load_image(path, [3, 2, 2]))


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


class Deciding(nn.Module):
    """Does something else with another batch."""

    def forward(self, features):
        return features if features.sum() > 0 else -features


REASONS = {
    "no operator": (nn.AdaptiveMaxPool2d(4), r"No ONNX function found.*adaptive_max_pool2d"),
    "a decision": (Deciding(), r"data-dependent expression"),
}


@pytest.mark.parametrize("what", REASONS)
def test_the_cause_is_reported_in_full_and_plain_text(what, tmp_path, capfd):
    """Not which of the exporter's steps failed, in colours, and not its graphs."""
    module, reason = REASONS[what]
    network = MultiExitNetwork()
    network.stages = nn.ModuleList([nn.Sequential(module, nn.Flatten(1))])
    network.heads = nn.ModuleList([nn.Identity()])
    with pytest.raises(InputError, match=reason) as error:
        export_graphs(network, [3, 15, 15], tmp_path / "graphs")
    message = str(error.value)
    assert message.startswith("export: stage_1 cannot be written as ONNX (")
    assert message.endswith("; use operators that ONNX has, with a batch of any size")
    assert message.isprintable()
    assert "step 3/3" not in message
    assert capfd.readouterr() == ("", "")


class Viewing(nn.Module):
    """Flat features; `length` says how many samples there are."""

    def __init__(self, length):
        super().__init__()
        self.length = length

    def forward(self, features):
        return features.view(self.length(features), -1)


def viewing(length):
    """Two stages and heads, for images (3, 8, 8)."""
    torch.manual_seed(0)
    network = MultiExitNetwork()
    network.stages = nn.ModuleList([nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)])
    network.heads = nn.ModuleList(
        [nn.Sequential(Viewing(length), nn.Linear(4 * side**2, 5)) for side in (6, 4)]
    )
    return network


def test_a_graph_for_batches_of_one_length_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"^export: head_1 would take batches of 2 only: .*len\(x\)"
    ):
        export_graphs(viewing(len), [3, 8, 8], tmp_path / "graphs")


def test_a_network_that_is_kept_contiguous_is_exported(tmp_path):
    """It has a hook, which the graph must do without or have in it."""
    network = viewing(lambda features: features.shape[0])
    check(network, 5, [3, 8, 8])
    assert kept_contiguous(network)
    graphs = export_graphs(network, [3, 8, 8], tmp_path / "graphs")
    images = torch.rand(3, 3, 8, 8)
    features, found = images.numpy(), []
    for stage, head in zip(graphs["stages"], graphs["heads"], strict=True):
        run = [onnxruntime.InferenceSession(str(tmp_path / name)).run for name in (stage, head)]
        features = run[0](None, {"input": features})[0]
        found.append(run[1](None, {"input": features})[0])
    with torch.no_grad():
        expected = network(images).numpy()
    np.testing.assert_allclose(np.stack(found, axis=1), expected, atol=1e-5)


def test_agreement_counts_ties_separately():
    records = make_records()
    policy = Policy(ExitCriterion(), (float(records.uncertainty[0, 0]), 0.7))
    taken = policy.exits_taken(records.uncertainty)
    rows = np.arange(60)
    prediction, unsure = records.prediction[rows, taken], records.uncertainty[rows, taken]
    one = Outcomes(prediction, taken, unsure)
    other = Outcomes(prediction.copy(), taken.copy(), unsure.copy())
    # Just at the threshold: the sample exits in one run and not in the other.
    assert taken[0] > 0
    other.exit[0], other.prediction[0] = 0, records.prediction[0, 0]
    other.uncertainty[0] = records.uncertainty[0, 0]
    far = int(np.flatnonzero(~near_threshold(policy, records.uncertainty).any(axis=1))[0])
    other.prediction[far] += 1
    found = agreement(policy, records, one, other)
    assert (found.equal, found.ties, found.different) == (58, 1, 1)
    # No tie excuses a class, or an uncertainty, that the exit does not give.
    for field, change in (("prediction", 1), ("uncertainty", 0.1)):
        getattr(other, field)[0] += change
        found = agreement(policy, records, one, other)
        assert (found.equal, found.ties, found.different) == (58, 0, 2)
        getattr(other, field)[0] -= change
    other.uncertainty[far] += 0.01
    other.prediction[far] -= 1
    assert agreement(policy, records, one, other).different == 1
    with pytest.raises(InputError, match="runs of 59 and 60 samples, 60 records"):
        agreement(policy, records, Outcomes(prediction[1:], taken[1:], taken[1:]), other)
