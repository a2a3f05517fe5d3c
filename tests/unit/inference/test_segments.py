"""What runs in one go: stages up to a head that runs, as one graph where a runtime has them."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from early_exit.errors import InputError
from early_exit.inference import cost, timing
from early_exit.inference.alone import InARow, alone, whole
from early_exit.inference.backends.engine import GraphEngine
from early_exit.inference.backends.fused import fused
from early_exit.inference.backends.graph_file import write_graphs_file
from early_exit.inference.backends.network import GraphSegment
from early_exit.inference.cost import IN_A_ROW, Part, _as_one_graph
from early_exit.inference.decisions import Decisions
from early_exit.inference.engine import Engine
from early_exit.inference.graphs import export_graphs
from early_exit.inference.runner import EarlyExitRunner, run_policy
from early_exit.inference.segments import segments
from early_exit.inference.timing import full_network, time_segments
from early_exit.networks.base import MultiExitNetwork
from early_exit.networks.custom import adopt
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy, uniform
from early_exit.structures.inputs import InputSpec
from helpers import SmallNetwork, a_criterion, random_images
from structured import NETWORKS, classes_of, samples_of

SPEC = InputSpec((3, 2, 2))
SAMPLES = 50


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    path = tmp_path_factory.mktemp("graphs") / "graphs.json"
    write_graphs_file(path, export_graphs(SmallNetwork().eval(), SPEC, path.parent / "parts"), {})
    return GraphEngine(graphs=path, spec=SPEC)


@pytest.mark.parametrize(
    ("runs", "spans"),
    [
        ((True, True, True), [(0, 0), (1, 1), (2, 2)]),
        ((False, True, True), [(0, 1), (2, 2)]),
        ((True, False, True), [(0, 0), (1, 2)]),
        # The last head always runs.
        ((False, False, False), [(0, 2)]),
    ],
)
def test_a_segment_ends_at_a_head_that_runs(engine, runs, spans):
    images = engine.prepare(random_images(SAMPLES))
    network = SmallNetwork().eval()
    expected = network(images)
    for own in (network, engine.ready(network)):
        found = segments(own, runs)
        assert [(one.first, one.last) for one in found.values()] == spans
        assert list(found) == [first for first, _ in spans]
        features = images
        for one in found.values():
            features, head = one.run(features, ())
            torch.testing.assert_close(head.logits, expected[:, one.last], atol=1e-5, rtol=1e-5)


def test_a_runtime_has_one_graph_for_each_segment(engine, monkeypatch):
    ready = engine.ready(SmallNetwork().eval())
    found = segments(ready, (False, True, True))
    assert all(isinstance(one.run, GraphSegment) for one in found.values())
    # Made once.
    assert segments(ready, (False, True, True))[0].run is found[0].run
    # No stage or head runs by itself, for a policy or for the full network.
    for part in (*ready.stages, *ready.heads):
        monkeypatch.setattr(part, "forward", lambda *_: pytest.fail("run by itself"))
    policy = Policy(ExitCriterion(), (-np.inf, 0.7))
    run_policy(ready, policy, random_images(SAMPLES), 8, engine, 4)
    run_policy(ready, policy, random_images(3), 1, engine, 1)
    full_network(ready)([engine.prepare(random_images(4))])


def test_what_cannot_be_one_graph_runs_part_by_part(tmp_path):
    """A part of another version of ONNX, as a quantizer may write it."""
    path = tmp_path / "graphs.json"
    network = SmallNetwork().eval()
    names = export_graphs(network, SPEC, tmp_path / "parts")
    head = tmp_path / names["heads"][1]
    model = onnx.load(head)
    model.ir_version -= 1
    onnx.save(model, head)
    write_graphs_file(path, names, {})
    engine = GraphEngine(graphs=path, spec=SPEC)
    files = [tmp_path / names["stages"][1]]
    assert fused(files, head, True) is None
    assert fused(files, tmp_path / names["heads"][0], True) is not None
    policy, images = uniform(ExitCriterion(), 0.6, 3), random_images(SAMPLES)
    for size in (1, 16):
        found = run_policy(network, policy, images, size, engine)
        expected = run_policy(SmallNetwork().eval(), policy, images, size, Engine())
        np.testing.assert_array_equal(found.exit, expected.exit)
        np.testing.assert_array_equal(found.prediction, expected.prediction)


@pytest.mark.parametrize(
    "name",
    [
        *("lists of scales", "masked transformer", "cascade", "some of both"),
        *("confidence", "one logit"),
    ],
)
def test_structures_pass_through_segments(name, tmp_path):
    """Features of any structure, tables that all share, cascades and confidences."""
    build, kind = NETWORKS[name][:2]
    torch.manual_seed(0)
    inputs, _ = samples_of(kind, SAMPLES)
    images = kind == "images"
    spec = InputSpec((3, 8, 8)) if images else InputSpec.of_samples(inputs)
    network = adopt(build(classes_of(kind), spec.shapes), MultiExitNetwork).eval()
    path = tmp_path / "graphs.json"
    write_graphs_file(path, export_graphs(network, spec, tmp_path / "parts"), {})
    engine = GraphEngine(graphs=path, spec=spec, images=images)
    measure = "confidence" if name == "confidence" else "margin"
    policy = uniform(ExitCriterion(measure), 0.5, len(network.heads))
    expected = run_policy(network, policy, inputs, 16, Engine(images=images))
    for size in (1, 16):
        ready = engine.ready(network)
        found = run_policy(ready, policy, inputs, size, engine, size)
        assert len([*filter(None, ready.singles.values())]) == (
            size == 1 and name not in ("cascade", "some of both")
        )
        np.testing.assert_array_equal(found.exit, expected.exit)
        np.testing.assert_array_equal(found.prediction, expected.prediction)


def test_times_are_of_the_segments(engine):
    runner = EarlyExitRunner(SmallNetwork().eval(), Policy(ExitCriterion(), (-np.inf, 0.7)), engine)
    times = time_segments(runner, [engine.prepare(random_images(8))] * 2, engine)
    assert times[0] == 0
    assert (times[1:] > 0).all()


def test_a_sample_on_its_own_runs_in_one_graph(engine, monkeypatch):
    """Whatever its thresholds, with the exits and classes of the records."""
    ready, images = engine.ready(SmallNetwork().eval()), random_images(SAMPLES)
    for part in (*ready.stages, *ready.heads):
        monkeypatch.setattr(part, "forward", lambda *_: pytest.fail("run by itself"))
    monkeypatch.setattr(ready, "segment", lambda *_: pytest.fail("run by itself"))
    for thresholds in ((0.6, 0.6), (0.3, np.inf), (0.9, 0.1)):
        policy = Policy(ExitCriterion("margin"), thresholds)
        found = [
            alone(ready, Decisions.of(policy))(engine.prepare(images[k : k + 1]))
            for k in range(SAMPLES)
        ]
        prediction, taken, unsure = map(np.array, zip(*found, strict=True))
        run = run_policy(SmallNetwork().eval(), policy, images, 16, Engine())
        np.testing.assert_array_equal(taken, run.exit)
        np.testing.assert_array_equal(prediction, run.prediction)
        np.testing.assert_allclose(unsure, run.uncertainty, atol=2e-6)
    assert len(ready.singles) == 1
    # Another measure is another graph; a policy with no decision needs none.
    assert alone(ready, Decisions.of(uniform(ExitCriterion("entropy"), 0.6, 3))) is not None
    assert len(ready.singles) == 2
    assert alone(ready, Decisions.of(uniform(ExitCriterion("entropy"), -np.inf, 3))) is None
    assert alone(ready, Decisions.of(Policy(a_criterion("patience", 3), (1.5, 1.5)))) is None
    assert alone(SmallNetwork().eval(), Decisions.of(policy)) is None


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_samples_in_a_row_share_memory(engine, backend):
    """Each has its own answer, within torch's mode for inference and outside of it."""
    pytest.importorskip(backend)
    ready = replace(engine, backend=backend).ready(SmallNetwork().eval())
    images = engine.prepare(random_images(SAMPLES)).split(1)
    expected = [ready.plain(image)[:, -1] for image in images]
    own = whole(ready)
    with torch.inference_mode():
        found = [own(image)[0].clone() for image in images]
    memory = own.memory[0].data_ptr()
    found += [own(image)[0].clone() for image in images]
    assert own.memory[0].data_ptr() == memory
    torch.testing.assert_close(torch.cat(found), torch.cat(expected * 2), atol=1e-5, rtol=0)
    # Another size is other memory, also after one that the graph refuses.
    with pytest.raises((RuntimeError, ValueError)):
        own(torch.zeros(1, 5, 2, 2))
    torch.testing.assert_close(own(images[0])[0], expected[0], atol=1e-5, rtol=0)
    # What is not contiguous is copied as what it stands for.
    mirrored = images[0].flip(3).transpose(2, 3).contiguous().transpose(2, 3)
    again = own(mirrored)[0]
    torch.testing.assert_close(again, ready.plain(mirrored)[:, -1], atol=1e-5, rtol=0)
    assert whole(ready.plain) is None


def test_the_full_network_runs_samples_on_their_own_as_a_policy_does(engine, monkeypatch):
    ready, images = engine.ready(SmallNetwork().eval()), engine.prepare(random_images(4))
    calls = []
    monkeypatch.setattr(InARow, "__call__", lambda self, one: [calls.append(one) or one])
    full_network(ready)(list(images.split(1)))
    assert len(calls) == 4
    full_network(ready)(list(images.split(2)))
    assert len(calls) == 4


def test_a_runner_uses_it_for_batches_of_one_alone(engine):
    policy, images = uniform(ExitCriterion(), 0.6, 3), random_images(9)
    runner = EarlyExitRunner(SmallNetwork().eval(), policy, engine, regroup=4)
    runner.run(engine.batches(images, 4, ""))
    # The last batch, of one, waits for others.
    assert runner.network.singles == {}
    alike = EarlyExitRunner(runner.network, policy, engine, regroup=1)
    found = alike.run(engine.batches(images, 1, ""))
    assert len(runner.network.singles) == 1
    for one, other in zip(found, runner.run(engine.batches(images, 4, "")), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)
    # What each exit reached saw is not known of it.
    kept = EarlyExitRunner(engine.ready(SmallNetwork()), policy, engine, keep_uncertainties=True)
    kept.run(engine.batches(images, 1, ""))
    assert kept.network.singles == {}
    assert np.isfinite(kept.uncertainties[:, 0]).all()


def test_logits_that_are_not_finite_are_named(engine, monkeypatch):
    runner = EarlyExitRunner(SmallNetwork().eval(), uniform(ExitCriterion(), 0.6, 3), engine)
    images = engine.prepare(random_images(1))
    bad = 0, 2, np.nan
    monkeypatch.setattr(type(runner.graph_of_one()), "__call__", lambda *_: bad)
    for batches in ([images], [images, images]):
        with pytest.raises(InputError, match="NaN or infinite in fp32, the first at index 0, at"):
            runner.run(batches)


def test_the_passes_of_a_sample_end_at_each_exit(engine):
    policy = Policy(ExitCriterion("margin"), (-np.inf, 0.5))
    own = alone(engine.ready(SmallNetwork().eval()), Decisions.of(policy))
    image = engine.prepare(random_images(1))
    assert {k: int(run(image)[1]) for k, run in own.passes().items()} == {1: 1, 2: 2}


def test_costs_of_a_sample_on_its_own_add_up_to_its_passes():
    parts = [
        Part(name, exit, print, ()) for exit in (1, 2) for name in ("stage", "head", "overhead")
    ]
    taken = [(one,) * 3 for one in (6.0, 3.0, 1.0, 2.0, 1.0, 1.0)]
    # Without its first head and decision the network takes 7.0 of 8.0: these take 1.0, a quarter
    # of what they take by themselves, and the second ones 0.5.
    passes = [(one * IN_A_ROW,) * 3 for one in (5.0, 8.0, 7.0)]
    found = [times[0] for times in _as_one_graph(parts, taken, passes)]
    assert found == pytest.approx([4.0, 0.75, 0.25, 2.5, 0.25, 0.25])
    # Of the overheads by several measures a policy has one.
    parts.insert(3, Part("overhead", 1, print, ()))
    taken.insert(3, (0.5,) * 3)
    found = [times[0] for times in _as_one_graph(parts, taken, passes)]
    assert found == pytest.approx([4.0, 0.75, 0.25, 0.125, 2.5, 0.25, 0.25])
    # Where noise makes heads free, or a later pass the shorter one, no time is 0 or less.
    for noisy in ((5.0, 8.0, 9.0), (5.0, 4.0, 3.0), (5.0, 8.0, 1.0)):
        passes = [(one * IN_A_ROW,) * 3 for one in noisy]
        assert min(times[0] for times in _as_one_graph(parts, taken, passes)) > 0


def test_only_batches_of_one_cost_what_one_graph_does(engine, monkeypatch):
    asked = []
    monkeypatch.setattr(cost, "_passes", lambda *own: asked.append(len(own[2])) or [])
    cost.measure_costs(SmallNetwork().eval(), SPEC, [1, 4], 3, ["margin"], engine)
    assert asked == [1]
    monkeypatch.undo()
    costs = cost.measure_costs(SmallNetwork().eval(), SPEC, [1, 4], 3, ["margin"], engine)
    assert (costs.ms_per_sample > 0).all()


def test_passes_of_samples_on_their_own_are_timed_one_after_the_other(engine, monkeypatch):
    """A longer pass in between would empty the caches that a run finds full."""
    policy = uniform(ExitCriterion("margin"), 0.5, 3)
    runner = EarlyExitRunner(SmallNetwork().eval(), policy, engine)
    ran = []
    passes = {k: lambda batch, k=k: ran.append((k, batch)) for k in range(3)}
    monkeypatch.setattr(runner.graph_of_one(), "passes", lambda: passes)
    taken = iter([5.0, 7.0, 11.0])
    monkeypatch.setattr(
        timing, "milliseconds", lambda run, *given, engine: run(*given) or next(taken)
    )
    batches = [engine.prepare(random_images(1, seed)) for seed in range(2)]
    assert time_segments(runner, batches, engine).tolist() == [5.0, 2.0, 4.0]
    assert [k for k, _ in ran] == [0, 0, 1, 1, 2, 2]
