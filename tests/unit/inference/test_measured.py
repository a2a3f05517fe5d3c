"""Graphs of stages and a head return what a policy decides by, in place of logits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from early_exit.inference.backends.engine import GraphEngine
from early_exit.inference.backends.graph_file import write_graphs_file
from early_exit.inference.backends.network import Measured
from early_exit.inference.decisions import Decisions
from early_exit.inference.engine import Engine
from early_exit.inference.graphs import export_graphs
from early_exit.inference.runner import EarlyExitRunner, run_policy
from early_exit.inference.segments import segments
from early_exit.networks.heads import Output
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.policy import Policy, uniform
from early_exit.structures.inputs import InputSpec
from helpers import SmallNetwork, a_criterion, random_images
from structured import NETWORKS, classes_of, samples_of

SPEC = InputSpec((3, 2, 2))
SAMPLES = 50
POLICIES = [
    *(uniform(ExitCriterion(measure), 0.55, 3) for measure in ("entropy", "margin")),
    uniform(ExitCriterion("max_probability", temperatures=(0.5, 2.0, 1.0)), 0.4, 3),
    uniform(ExitCriterion("margin", ExitRule.ABOVE, (2.0, 0.5, 1.0)), 0.7, 3),
    Policy(ExitCriterion("entropy"), (-np.inf, 0.9)),
]


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def engine(request, tmp_path_factory):
    pytest.importorskip(request.param)
    path = tmp_path_factory.mktemp("graphs") / "graphs.json"
    write_graphs_file(path, export_graphs(SmallNetwork().eval(), SPEC, path.parent / "parts"), {})
    return GraphEngine(backend=request.param, graphs=path, spec=SPEC)


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@pytest.mark.parametrize("size", [2, 7, SAMPLES])
def test_uncertainties_and_classes_are_those_of_the_measure(engine, policy, size):
    images = random_images(SAMPLES)
    runner = EarlyExitRunner(SmallNetwork().eval(), policy, engine, min(size, 8))
    found = [one.numpy() for one in runner.run(engine.batches(images, size, ""))]
    features = engine.prepare(images)
    for segment in runner.segments.values():
        features, own = segment.run(features, ())
        assert isinstance(own, Measured)
    expected = run_policy(SmallNetwork().eval(), policy, images, 16, Engine())
    np.testing.assert_array_equal(found[0], expected.prediction)
    np.testing.assert_array_equal(found[1], expected.exit)
    np.testing.assert_allclose(found[2], expected.uncertainty, atol=2e-6)
    assert len(set(expected.exit)) > 1


@pytest.mark.parametrize("name", ["confidence", "one logit"])
def test_learned_confidences_and_single_logits(name, tmp_path):
    build, kind = NETWORKS[name][:2]
    torch.manual_seed(0)
    inputs, _ = samples_of(kind, SAMPLES)
    images = kind == "images"
    spec = InputSpec((3, 8, 8)) if images else InputSpec.of_samples(inputs)
    network = build(classes_of(kind), spec.shapes).eval()
    path = tmp_path / "graphs.json"
    write_graphs_file(path, export_graphs(network, spec, tmp_path / "parts"), {})
    engine = GraphEngine(graphs=path, spec=spec, images=images)
    measure = "confidence" if name == "confidence" else "margin"
    policy = uniform(ExitCriterion(measure), 0.5, len(network.heads))
    runner = EarlyExitRunner(network, policy, engine, 8)
    found = [one.numpy() for one in runner.run(engine.batches(inputs, 16, ""))]
    assert isinstance(runner.segments[0].run(engine.prepare(inputs), ())[1], Measured)
    expected = run_policy(network, policy, inputs, 16, Engine(images=images))
    np.testing.assert_array_equal(found[0], expected.prediction)
    np.testing.assert_array_equal(found[1], expected.exit)
    np.testing.assert_allclose(found[2], expected.uncertainty, atol=2e-6)


def test_one_graph_for_all_thresholds_and_another_for_each_measure(engine):
    ready, runs = engine.ready(SmallNetwork().eval()), (True, True, True)

    def first(policy):
        return segments(ready, runs, Decisions.of(policy))[0].run

    for thresholds in ((0.1, 0.2), (-np.inf, 0.3)):
        policy = Policy(ExitCriterion("margin"), thresholds)
        assert first(policy) is first(uniform(ExitCriterion("margin"), 0.5, 3))
    assert first(policy) is not first(uniform(ExitCriterion("entropy"), 0.5, 3))


def test_logits_where_a_graph_does_not_measure(engine):
    """By a fitted criterion, in less than fp32, and for those who need logits."""
    ready = engine.ready(SmallNetwork().eval())
    features = engine.prepare(random_images(4))
    margin = Decisions.of(uniform(ExitCriterion("margin"), 0.5, 3))
    fitted = Decisions.of(Policy(a_criterion("patience", 3), (1.5, 1.5)))
    runs = (True, True, True)
    assert isinstance(segments(ready, runs, margin)[0].run(features, ())[1], Measured)
    for policy in (None, fitted):
        assert isinstance(segments(ready, runs, policy)[0].run(features, ())[1], Output)
    if engine.backend == "openvino":
        less = replace(engine, precision="bf16")
        own = segments(less.ready(SmallNetwork().eval()), runs, margin)[0]
        assert isinstance(own.run(less.prepare(random_images(4)), ())[1], Output)


@pytest.mark.parametrize("fails", [False, True])
def test_torch_leaves_the_cores_to_the_runtime_while_it_runs(engine, fails, monkeypatch):
    """Its threads would wait in a loop there; afterwards it has as many as before."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    seen = []
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    policy = uniform(ExitCriterion(), 0.6, 3)

    def batches(own):
        yield own.prepare(random_images(4))
        assert seen[-1:] == ([] if own is not engine else [1])
        if fails:
            raise KeyError

    for own, expected in ((engine, [1, 2]), (Engine(), [])):
        seen.clear()
        runner = EarlyExitRunner(SmallNetwork().eval(), policy, own)
        try:
            runner.run(batches(own))
        except KeyError:
            assert fails
        assert seen == expected


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (128, 128), (512, 256)])
def test_regrouped_batches_are_larger_than_those_of_torch(engine, size, expected):
    assert engine.regroup_size(size) == expected
