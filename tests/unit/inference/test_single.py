"""One graph with an ``If`` at each exit gives the exits and classes of the staged network."""

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnx
import onnxruntime

from early_exit.errors import InputError
from early_exit.export.graphs import export
from early_exit.inference.decisions import MEASURES, Decisions
from early_exit.inference.engine import REFERENCE, Engine
from early_exit.inference.graphs import export_graphs
from early_exit.inference.runner import run_policy
from early_exit.inference.single import FILE, Parts, single_graph
from early_exit.io.files import write_json
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.policy import Policy, uniform
from early_exit.structures.inputs import InputSpec
from helpers import PROVENANCE, SmallNetwork, a_criterion, random_images
from structured import Transformer
from unit.export.test_graphs import MANIFEST

SAMPLES = 60
PLAIN = {"mean": None, "std": None}
POLICIES = [
    *(uniform(ExitCriterion(measure), 0.55, 3) for measure in ("entropy", "margin")),
    uniform(ExitCriterion("max_probability", temperatures=(0.5, 2.0, 1.0)), 0.4, 3),
    uniform(ExitCriterion("margin", ExitRule.ABOVE), 0.7, 3),
    # A head that does not run, an exit that all take, and the full network.
    Policy(ExitCriterion("entropy"), (-np.inf, 0.7)),
    Policy(ExitCriterion("entropy"), (0.5, np.inf)),
    Policy(ExitCriterion("entropy"), (-np.inf, -np.inf)),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    return Parts.of(export_graphs(SmallNetwork().eval(), [3, 2, 2], folder / "graphs"), folder)


def answers(model, rows):
    """Prediction, exit and uncertainty of each of ``rows``, dictionaries of arrays."""
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = [session.run(["prediction", "exit", "uncertainty"], row) for row in rows]
    return [np.concatenate(column) for column in zip(*found, strict=True)]


def assert_same(found, run, exits):
    prediction, taken, unsure = found
    np.testing.assert_array_equal(taken, run.exit)
    np.testing.assert_array_equal(prediction, run.prediction)
    np.testing.assert_allclose(unsure, run.uncertainty, atol=2e-6)
    assert set(run.exit) == exits


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_exits_and_classes_are_those_of_the_stages(parts, policy):
    images = random_images(SAMPLES)
    model = single_graph(Decisions.of(policy), parts, PLAIN)
    run = run_policy(SmallNetwork().eval(), policy, images, 1, REFERENCE)
    rows = [{"image": image[None].numpy()} for image in images]
    possible = {
        k for k, threshold in enumerate(policy.thresholds) if threshold != policy.rule.never
    }
    possible = {0, 1} if policy.thresholds[1] == np.inf else possible | {2}
    assert_same(answers(model, rows), run, possible)


@pytest.mark.parametrize("measure", ["entropy", "max_probability", "margin"])
def test_every_constant_is_used(parts, measure):
    """ONNX Runtime warns of others."""

    def check(graph):
        own = list(graph.node)
        inner = [one.g for node in own for one in node.attribute if one.HasField("g")]
        deep = [name for one in inner for name in check(one)]
        used = [name for node in own for name in node.input] + deep
        assert {one.name for one in graph.initializer} <= {*used}
        return used

    check(single_graph(Decisions.of(uniform(ExitCriterion(measure), 0.5, 3)), parts, PLAIN).graph)


def test_images_are_normalised(parts):
    numbers = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}
    policy, images = POLICIES[0], random_images(SAMPLES, seed=4)
    model = single_graph(Decisions.of(policy), parts, numbers)
    run = run_policy(SmallNetwork().eval(), policy, images, 1, Engine(**numbers))
    plain = run_policy(SmallNetwork().eval(), policy, images, 1, REFERENCE)
    assert not np.array_equal(run.exit, plain.exit)
    rows = [{"image": image[None].numpy()} for image in images]
    assert_same(answers(model, rows), run, {0, 1, 2})


def test_other_inputs_have_their_names(tmp_path):
    torch.manual_seed(0)
    network = Transformer(3, {"tokens": [6], "mask": [6]}).eval()
    inputs = {
        "mask": torch.ones(SAMPLES, 6, dtype=torch.bool),
        "tokens": torch.randint(0, 50, (SAMPLES, 6)),
    }
    inputs["mask"][::2, 4:] = False
    spec = InputSpec.of_samples(inputs)
    graphs = export_graphs(network, spec, tmp_path / "graphs")
    policy = uniform(ExitCriterion("margin"), 0.8, len(network.heads))
    run = run_policy(network, policy, inputs, 1, Engine(images=False))
    model = single_graph(Decisions.of(policy), Parts.of(graphs, tmp_path), None, ["mask", "tokens"])
    rows = [{name: own[k : k + 1].numpy() for name, own in inputs.items()} for k in range(SAMPLES)]
    found = answers(model, rows)
    assert len(set(run.exit)) > 1
    assert_same(found, run, set(run.exit))


def test_later_stages_do_not_run_where_a_sample_exits(parts, tmp_path):
    """A later stage that fails is no matter to a sample that exits before it."""
    model = single_graph(Decisions.of(POLICIES[1]), parts, PLAIN)
    outer = [node.op_type for node in model.graph.node]
    assert outer.count("If") == 1
    (choice,) = (node for node in model.graph.node if node.op_type == "If")
    here, deeper = sorted((own.g for own in choice.attribute), key=lambda one: len(one.node))
    assert {node.op_type for node in here.node} == {"Identity"}
    assert [node.op_type for node in deeper.node].count("If") == 1
    # The weights of the later stages are in the branch alone.
    assert len(deeper.initializer) > 0
    names = {one.name for one in model.graph.initializer}
    assert not any(name.startswith(("part1/", "part2/")) for name in names)


def test_what_it_cannot_do_is_one_error(parts, tmp_path):
    for policy, also, says in (
        (Policy(a_criterion("patience"), (1.0, 1.0)), {}, "the policy is by patience; choose one"),
        (POLICIES[0], {"is_cascade": True}, "no cascades"),
    ):
        with pytest.raises(InputError, match=says) as error:
            single_graph(Decisions.of(policy), parts._replace(**also), PLAIN)
        assert "set export.single_graph to false" in str(error.value)


def test_graphs_of_different_versions_are_one_error(parts, tmp_path):
    model = onnx.load(parts.heads[1])
    model.opset_import[0].version = 18
    onnx.save(model, tmp_path / "head_2.onnx")
    heads = [parts.heads[0], tmp_path / "head_2.onnx", parts.heads[2]]
    with pytest.raises(InputError, match="stages 2 to 2 cannot be part of"):
        single_graph(Decisions.of(POLICIES[0]), parts._replace(heads=heads), PLAIN)


def test_an_export_has_it_if_asked(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    known = {"identity": PROVENANCE, "calibration": {"accuracy": 0.5}}
    known["policy"] = POLICIES[1].to_json()
    write_json(tmp_path / "policy.json", known)
    network = SmallNetwork().eval()
    export(network, tmp_path / "policy.json", known, MANIFEST, folder, single=True)
    onnx.checker.check_model(onnx.load(folder / FILE))
    for word in (b"early_exit/", b".py", str(tmp_path).encode()):
        assert word not in (folder / FILE).read_bytes()
    assert f'"{FILE}"' in (folder / "manifest.json").read_text()
    assert "confidence" in MEASURES
