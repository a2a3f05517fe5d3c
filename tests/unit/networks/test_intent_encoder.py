"""The encoder of short texts, on random inputs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from early_exit.inference.macs import counted
from early_exit.networks.zoo.intent_encoder import DEVIATION, Network
from early_exit.structures.inputs import InputSpec

CLASSES, WORDS, NGRAMS, WIDTH = 7, 24, 32, 64
TOKENS, BUCKETS = 3000, 12288


def texts(*lengths: int) -> dict[str, torch.Tensor]:
    """Random texts of so many words, of 3 to all n-grams each."""
    generator = torch.Generator().manual_seed(sum(lengths))
    shape = (len(lengths), WORDS, NGRAMS)
    tokens = torch.randint(1, TOKENS, shape[:2], generator=generator)
    ngrams = torch.randint(1, BUCKETS, shape, generator=generator)
    sizes = torch.randint(3, NGRAMS + 1, shape[:2], generator=generator)
    found = torch.arange(WORDS) < torch.tensor(lengths)[:, None]
    inside = (torch.arange(NGRAMS) < sizes[:, :, None]) & found[:, :, None]
    return {"tokens": (tokens * found).int(), "ngrams": (ngrams * inside).int()}


def taken(inputs, rows):
    return {name: tensor[rows] for name, tensor in inputs.items()}


@pytest.fixture
def network():
    """A network whose stages change their inputs, as after training."""
    torch.manual_seed(0)
    network = Network(CLASSES)
    for name, parameter in network.named_parameters():
        if name.endswith(("outputs.weight", "positions.weight")):
            torch.nn.init.normal_(parameter, std=DEVIATION)
    return network.eval()


@torch.no_grad()
def test_thirteen_exits_of_a_logit_for_each_class(network):
    logits = network(texts(3, WORDS, 1))
    assert logits.shape == (3, 13, CLASSES)
    assert logits.isfinite().all()
    # The stages do something.
    assert all((logits[:, k] - logits[:, k - 1]).abs().max() > 1e-3 for k in range(1, 13))


@torch.no_grad()
def test_a_text_alone_and_in_a_batch(network):
    inputs = texts(5, WORDS, 1, 9)
    together = network(inputs)
    for row in range(4):
        alone = network(taken(inputs, slice(row, row + 1)))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_an_empty_text_has_finite_logits(network):
    """No real text is empty, but checks make up some; attention to nothing would be NaN."""
    assert network(texts(0, 4)).isfinite().all()


@torch.no_grad()
def test_padding_is_not_read(network):
    inputs = texts(6, 2)
    before = network(inputs)
    network.stages[0].positions.weight[7:] = 100.0
    after = network(inputs)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_first_exit_ignores_the_order_of_words_and_later_ones_read_it(network):
    network.stages[0].positions.weight.zero_()
    inputs = texts(8)
    order = torch.cat([torch.arange(8).flip(0), torch.arange(8, WORDS)])
    turned = {name: tensor[:, order] for name, tensor in inputs.items()}
    apart = (network(inputs) - network(turned)).abs().amax(dim=(0, 2))
    assert apart[0] < 1e-5
    assert apart[2:].min() > 1e-3


@torch.no_grad()
def test_stages_start_as_identities():
    network = Network(CLASSES).eval()
    first = network.stages[0](texts(4, 9))
    last = first
    for stage in network.stages[1:]:
        last = stage(last)
    assert torch.equal(first["words"], last["words"])


def test_words_and_ngrams_are_left_out_in_training_alone(network):
    inputs = texts(WORDS, WORDS)
    stage = network.stages[0]
    whole = stage(inputs)["mask"]
    assert whole.all()
    torch.manual_seed(0)
    thinned = stage.train()(inputs)["mask"]
    assert thinned[:, 0].all()
    assert 0 < thinned.sum() < whole.sum()


def test_later_exits_do_not_change_the_bag(network):
    logits = network(texts(3, 9))
    tables = [network.stages[0].words.weight, network.stages[0].ngrams.weight]
    for exit_, changed in ((0, (True, False)), (5, (False, True))):
        for gradient in torch.autograd.grad(
            logits[:, exit_].square().sum(), tables, retain_graph=True
        ):
            assert (bool(gradient[:, :64].any()), bool(gradient[:, 64:].any())) == changed


def test_padding_is_not_trained(network):
    network.train()(texts(3, 9)).square().sum().backward()
    stage = network.stages[0]
    for table in (stage.ngrams, stage.words):
        assert not table.weight.grad[0].any()
        assert table.weight.grad.any()
        assert not table.weight[0].any()


@torch.no_grad()
def test_macs_by_hand(network):
    features, macs = texts(5), []
    for stage, head in zip(network.stages, network.heads, strict=True):
        found = counted(stage, features)
        features = stage(features)
        assert not found.doubts
        macs.append((found.macs, counted(head, features).macs))
    length = 1 + WORDS
    attention = length * 4 * WIDTH**2 + 2 * length**2 * WIDTH
    forward = length * 2 * WIDTH * 128
    head = WIDTH * CLASSES
    assert macs == [(0, head), *[(attention, 2 * head), (forward, 2 * head)] * 6]


def test_the_weights_are_small_enough_to_be_shipped():
    weights = sum(p.numel() for p in Network(150).parameters())
    assert 4 * weights < 10e6


@torch.no_grad()
def test_it_has_graphs_for_any_size_of_batch(network, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    graphs = pytest.importorskip("early_exit.export.graphs")
    names = graphs.export_graphs(network, InputSpec.of_samples(texts(3, 9)), tmp_path)
    inputs = texts(7, 1, WORDS, 4, 3)
    features, logits = [inputs[name].numpy() for name in ("tokens", "ngrams")], []
    for stage, head in zip(names["stages"], names["heads"], strict=True):
        features = ran(runtime, tmp_path / Path(stage).name, features)
        logits += ran(runtime, tmp_path / Path(head).name, features)
    found = torch.from_numpy(np.stack(logits, axis=1))
    torch.testing.assert_close(found, network(inputs), rtol=1e-3, atol=1e-4)
    kinds = {node.op_type for node in onnx_of(tmp_path / "stage_1.onnx").graph.node}
    assert "Loop" not in kinds


def ran(runtime, path, features):
    """Outputs of a graph; it may lack inputs that it does not use."""
    session = runtime.InferenceSession(path)
    given = [one.name for one in session.get_inputs()]
    numbered = {f"input_{number}": one for number, one in enumerate(features, 1)}
    return session.run(None, {name: numbered[name] for name in given})


def onnx_of(path):
    return pytest.importorskip("onnx").load(path)
