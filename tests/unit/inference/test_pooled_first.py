"""OpenVINO computes an activation behind a max-pooling after it, which for GELU is not the same."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("onnxscript")
pytest.importorskip("openvino")

from early_exit.errors import BackendError
from early_exit.export import runner as exported
from early_exit.inference.backends import openvino
from early_exit.inference.backends.engine import GraphEngine
from early_exit.inference.backends.graph_file import write_graphs_file
from early_exit.inference.engine import Engine
from early_exit.inference.exits import all_exits
from early_exit.inference.graphs import export_graphs
from early_exit.inference.runner import run_policy
from early_exit.networks import MultiExitNetwork
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import uniform
from early_exit.structures.inputs import InputSpec

SPEC = InputSpec((3, 8, 8))
ACTIVATIONS = [nn.ReLU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.LeakyReLU]
IMAGES = torch.randint(
    0, 256, (40, *SPEC.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


class Pooled(MultiExitNetwork):
    """Two stages, each a convolution, a normalisation, a max-pooling and an activation."""

    def __init__(self, activation: type[nn.Module], has_normalisation: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stages = nn.ModuleList()
        for before, after in ((3, 8), (8, 8)):
            own = [nn.BatchNorm2d(after)] if has_normalisation else []
            convolution = nn.Conv2d(before, after, 3, padding=1)
            # Much of what is pooled is below -1, where such activations turn.
            nn.init.normal_(convolution.weight)
            nn.init.constant_(convolution.bias, -2)
            stage = nn.Sequential(convolution, *own, nn.MaxPool2d(2), activation())
            self.stages.append(stage)
        sizes = (8 * 4 * 4, 8 * 2 * 2)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Flatten(), nn.Linear(size, 4)) for size in sizes
        )


def engine_for(network, folder):
    path = folder / "graphs.json"
    write_graphs_file(path, export_graphs(network, SPEC, folder / "parts"), {})
    return GraphEngine(backend="openvino", graphs=path, spec=SPEC, threads=1)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_follows_the_pooling(activation, tmp_path):
    network = Pooled(activation, has_normalisation=activation is not nn.GELU).eval()
    engine = engine_for(network, tmp_path)
    expected = all_exits(network, IMAGES, 40, Engine())
    for size in (40, 1):
        found = all_exits(network, IMAGES, size, engine)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    # With both exits in use; the graph of a single sample has the second stage in a branch.
    always = uniform(ExitCriterion(), 9.0, 2)
    unsure = np.sort(run_policy(network, always, IMAGES, 40, Engine()).uncertainty)
    policy = uniform(ExitCriterion(), float(unsure[18:20].mean()), 2)
    reference = run_policy(network, policy, IMAGES, 40, Engine())
    assert 0 < reference.exit.mean() < 1
    for size in (40, 1):
        own = run_policy(network, policy, IMAGES, size, engine)
        assert np.array_equal(own.exit, reference.exit)
        np.testing.assert_allclose(own.uncertainty, reference.uncertainty, atol=1e-5)
    # The exported runner reads the same files by itself.
    image = SPEC.batch(1)
    _, load = exported.SESSIONS["openvino"](1, "fp32")
    _, run = load((tmp_path / "parts" / "stage_1.onnx").read_bytes())
    found = run({"input": image.numpy()})[0]
    np.testing.assert_allclose(found, network.stages[0](image).detach(), atol=1e-5)


def test_both_know_the_same_operators():
    assert openvino.AFTER_POOLING == exported.AFTER_POOLING


def test_a_runtime_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    network = Pooled(nn.GELU).eval()
    engine = engine_for(network, tmp_path)
    assert engine.ready(network) is not network
    monkeypatch.setattr(openvino, "_pooled_first", lambda graph: graph)
    with pytest.raises(BackendError, match=r"openvino in fp32 computes other logits .* exit 1: "):
        engine.ready(network)
