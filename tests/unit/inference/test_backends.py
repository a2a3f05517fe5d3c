"""A network runs in each pair of backend and precision as under torch, and as it was recorded."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from early_exit.config.runtimes import PAIRS
from early_exit.errors import InputError
from early_exit.inference.cost import count_macs, measure_costs
from early_exit.inference.engine import Engine
from early_exit.inference.exits import all_exits, all_outputs
from early_exit.inference.rerun import agree
from early_exit.inference.runner import EarlyExitRunner, run_policy
from early_exit.io.files import write_json
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import uniform
from early_exit.records.table import from_logits
from early_exit.structures.inputs import InputSpec
from helpers import PROVENANCE, SmallNetwork, random_images
from structured import Transformer

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

import onnx

from early_exit.inference import quantization
from early_exit.inference.backends import engine as engines
from early_exit.inference.backends.engine import GraphEngine
from early_exit.inference.backends.graph_file import write_graphs_file
from early_exit.inference.backends.network import GraphNetwork
from early_exit.inference.graphs import export_graphs

SAMPLES = 90
SPEC = InputSpec((3, 2, 2))
POLICY = uniform(ExitCriterion(), 0.6, 3)
# How far logits may be from those of torch in fp32, as a share of the largest.
TOLERANCE = {"fp32": 1e-6, "bf16": 0.04, "int8": 0.08}
GRAPHS = [(name, one) for name, own in PAIRS.items() if name != "torch" for one in own]


def network() -> SmallNetwork:
    return SmallNetwork().eval()


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """Lists of the network's graphs, by precision; made once."""
    exact, folder = (tmp_path_factory.mktemp(name) / "graphs.json" for name in ("fp32", "int8"))
    write_graphs_file(exact, export_graphs(network(), SPEC, exact.parent / "parts"), {})
    images = random_images(1000, seed=5)
    labels = all_exits(network(), images, 100, Engine())[:, -1].argmax(axis=1)
    given = quantization.Samples(images[:300], images[300:], labels[300:])
    engine = GraphEngine(backend="onnxruntime", graphs=exact, spec=SPEC)
    noted = quantization.quantize(network(), engine, given, 0.05, folder.parent)
    write_graphs_file(folder, noted, {})
    return {"fp32": exact, "bf16": exact, "int8": folder}


@pytest.fixture(params=GRAPHS, ids=":".join)
def engine(request, graphs):
    backend, precision = request.param
    if backend == "openvino":
        pytest.importorskip("openvino")
    return GraphEngine(
        precision=precision, backend=backend, graphs=graphs[precision], spec=SPEC, threads=1
    )


def test_logits_are_those_of_torch(engine):
    images = random_images(SAMPLES)
    exact = all_exits(network(), images, 32, Engine())
    found = all_exits(network(), images, 32, engine)
    differs = np.abs(found - exact).max() / np.abs(exact).max()
    assert differs < TOLERANCE[engine.precision]
    # A lower precision is not fp32 under another name.
    assert (differs > 1e-4) == (engine.precision != "fp32")


def test_a_policy_runs_as_its_records_say(engine):
    """Each sample, however they are batched: thresholds are those of what runs."""
    images = random_images(SAMPLES)
    found = all_outputs(network(), images, 32, engine)
    labels = np.arange(SAMPLES) % 4
    records = from_logits(np.arange(SAMPLES), labels, found.logits, dict(PROVENANCE))
    for size, regroup in ((32, 16), (7, None), (1, None)):
        run = run_policy(network(), POLICY, images, size, engine, regroup)
        agreed = agree(POLICY, records, run, images, size, engine, network, "test.parquet")
        assert agreed.different == 0
        assert agreed.equal >= 0.97 * SAMPLES
        assert len(set(run.exit)) > 1


def test_results_of_a_batch_stay_when_the_next_one_runs(engine):
    ready = engine.ready(network())
    first, second = (engine.prepare(random_images(5, seed)) for seed in (1, 2))
    kept = ready.stages[0](first)
    before = kept.clone()
    assert not torch.equal(ready.stages[0](second), before)
    assert torch.equal(kept, before)


def test_costs_have_the_macs_of_the_network(engine):
    costs = measure_costs(network(), SPEC, [1, 4], 3, ["entropy"], engine)
    expected = count_macs(network(), Engine().prepare(SPEC.stored(1)))
    own = costs[costs.part != "overhead"]
    assert own.macs.min() > 0
    for row in own.itertuples():
        assert row.macs == expected[row.part, row.exit]


def test_a_network_is_made_ready_once(engine):
    ready = engine.ready(network())
    assert isinstance(ready, GraphNetwork)
    assert engine.ready(ready) is ready
    assert EarlyExitRunner(ready, POLICY, engine).network is ready


@pytest.mark.parametrize("backend", [name for name in PAIRS if name != "torch"])
def test_structures_and_dictionaries_pass_through_graphs(backend, tmp_path):
    pytest.importorskip(backend)
    torch.manual_seed(0)
    built = Transformer(3, {"tokens": [6], "mask": [6]}).eval()
    inputs = {"tokens": torch.randint(0, 50, (9, 6)), "mask": torch.ones(9, 6, dtype=torch.bool)}
    inputs["mask"][::2, 4:] = False
    spec = InputSpec.of_samples(inputs)
    path = tmp_path / "graphs.json"
    write_graphs_file(path, export_graphs(built, spec, tmp_path / "parts"), {})
    own = GraphEngine(backend=backend, graphs=path, spec=spec, images=False)
    exact = all_exits(built, inputs, 9, Engine(images=False))
    for size in (9, 4):
        np.testing.assert_allclose(all_exits(built, inputs, size, own), exact, atol=1e-5)


def test_a_backend_that_is_not_installed_is_one_error(monkeypatch, graphs):
    monkeypatch.setitem(sys.modules, "early_exit.inference.backends.openvino", None)
    monkeypatch.delattr(engines, "openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    import early_exit.inference.backends as wing

    monkeypatch.delattr(wing, "openvino", raising=False)
    with pytest.raises(InputError, match=r"openvino needs .*openvino, .* pip install '\.\[runtime"):
        GraphEngine(backend="openvino", graphs=graphs["fp32"], spec=SPEC)


def test_a_pair_that_does_not_exist_is_refused(graphs):
    with pytest.raises(InputError, match="onnxruntime has no bf16; set it to fp32 or int8"):
        GraphEngine(precision="bf16", backend="onnxruntime", graphs=graphs["fp32"], spec=SPEC)


def test_graphs_are_checked(graphs, tmp_path):
    path = tmp_path / "graphs.json"
    export_graphs(network(), SPEC, tmp_path / "parts")
    content = json.loads(graphs["fp32"].read_text())
    content.pop("checksum")
    write_json(path, content)
    own = GraphEngine(backend="onnxruntime", graphs=path, spec=SPEC)
    own.ready(network())
    stage = tmp_path / "parts/stage_2.onnx"
    stage.write_bytes(stage.read_bytes() + b"x")
    with pytest.raises(InputError, match=r"stage_2\.onnx: damaged; delete .*graphs\.json"):
        own.ready(network())
    stage.unlink()
    with pytest.raises(InputError, match=r"stage_2\.onnx: missing; delete .*graphs\.json"):
        own.ready(network())
    write_json(path, content | {"stages": ["../stage_1.onnx", *content["stages"][1:]]})
    with pytest.raises(InputError, match="no graph beside it"):
        own.ready(network())
    with pytest.raises(InputError, match="graphs of 3 stages and 3 heads, the network has 2"):
        replace(own, graphs=graphs["fp32"]).ready(SmallNetwork(exits=2))


def test_what_loses_too_much_stays_in_fp32():
    """Parts are given up from the one that loses most, until the rest is within the limit."""
    lost = {"parts/a.onnx": 0.004, "parts/b.onnx": 0.05, "parts/c.onnx": 0.02}
    reference = np.array([0.9, 0.8])

    def accuracies(quantized):
        return reference - np.array([0.0, sum(lost[name] for name in quantized)])

    for most, kept in ((0.1, "abc"), (0.024, "ac"), (0.01, "a"), (0.001, "")):
        chosen, reached, alone = quantization._within(list(lost), accuracies, reference, most)
        assert "".join(name[6] for name in chosen) == kept
        assert (reference - reached).max() <= most + 1e-9
        assert alone.keys() == (set() if kept == "abc" else lost.keys())


def test_the_list_says_which_parts_are_quantized(graphs, tmp_path):
    content = json.loads(graphs["int8"].read_text())
    assert content["quantized"] + content["fp32"] != []
    assert {*content["quantized"], *content["fp32"]} == {
        *(f"{kind}_{k}" for kind in ("stage", "head") for k in (1, 2, 3))
    }
    drops = np.subtract(content["accuracy_fp32"], content["accuracy"])
    assert drops.max() <= 0.05
    # With no loss allowed, some part stays as it is.
    images = random_images(400, seed=6)
    labels = all_exits(network(), images, 100, Engine())[:, -1].argmax(axis=1)
    given = quantization.Samples(images[:50], images[50:], labels[50:])
    exact = GraphEngine(backend="onnxruntime", graphs=graphs["fp32"], spec=SPEC)
    strict = quantization.quantize(network(), exact, given, 0.0, tmp_path)
    assert strict["fp32"]
    for part in strict["fp32"]:
        own, given = (
            [node.op_type for node in onnx.load(folder / f"parts/{part}.onnx").graph.node]
            for folder in (tmp_path, graphs["fp32"].parent)
        )
        # It may take what a part before it computed in int8.
        assert own in (given, ["DequantizeLinear", *given])
