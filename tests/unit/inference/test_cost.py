"""Multiply-accumulates against counts by hand, and doubts about them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import VisionTransformer
from torchvision.ops import DeformConv2d

from early_exit.errors import InputError
from early_exit.inference.cost import count_macs, macs
from early_exit.inference.engine import Engine
from early_exit.inference.macs import FORMULAS, counted
from early_exit.networks import MultiExitNetwork
from early_exit.networks.backbone import with_exits
from early_exit.networks.build import build_network
from early_exit.networks.checkpoint import load_network
from early_exit.structures.inputs import InputSpec

CHECKPOINTS = Path(__file__).parents[3] / "checkpoints"


class Do(nn.Module):
    """A function as a module, with parameters of its own."""

    def __init__(self, function, *shapes, **parts):
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(torch.rand(shape) for shape in shapes)
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *inputs):
        return self.function(*inputs, *self.weights, *self.children_but_weights())

    def children_but_weights(self):
        return [part for name, part in self.named_children() if name != "weights"]


def itself(part, **named):
    """A module that takes its input as query, key and value."""
    return Do(lambda x, own: own(x, x, x, **named), own=part)


def rand(*shape):
    return torch.rand(shape)


def attention(tokens, width):
    """Queries by keys, and weights by values; of one head or of many alike."""
    return 2 * tokens * tokens * width


def encoder(tokens, width, hidden):
    """Query, key, value, output; attention; two linear layers."""
    return 4 * tokens * width**2 + attention(tokens, width) + 2 * tokens * width * hidden


def lstm(inputs, hidden, gates=4, out=None):
    """One layer, one direction, one step."""
    out = out or hidden
    return gates * hidden * (inputs + out) + (hidden * out if out != hidden else 0)


sdpa = functional.scaled_dot_product_attention
SAME = {"padding": 1, "bias": False}
BY_HAND = {
    "linear": (nn.Linear(7, 5), [rand(2, 7)], 2 * 7 * 5),
    "linear of one row": (nn.Linear(7, 5), [rand(7)], 7 * 5),
    "linear of tokens": (nn.Linear(7, 5, bias=False), [rand(2, 3, 7)], 2 * 3 * 7 * 5),
    "linear in bf16": (nn.Linear(7, 5).bfloat16(), [rand(2, 7).bfloat16()], 2 * 7 * 5),
    "conv1d": (nn.Conv1d(4, 6, 3, padding=1), [rand(2, 4, 8)], 2 * 8 * 3 * 4 * 6),
    "conv1d grouped": (nn.Conv1d(4, 6, 3, **SAME, groups=2), [rand(1, 4, 8)], 8 * 3 * 4 * 6 // 2),
    "conv2d strided": (nn.Conv2d(4, 6, 3, stride=2), [rand(1, 4, 9, 7)], 4 * 3 * 9 * 4 * 6),
    "conv2d of each channel": (
        nn.Conv2d(6, 6, 3, **SAME, groups=6),
        [rand(1, 6, 5, 5)],
        25 * 9 * 6,
    ),
    "conv2d in bf16": (
        nn.Conv2d(4, 6, 3, **SAME, groups=2).bfloat16(),
        [rand(1, 4, 5, 5).bfloat16()],
        25 * 9 * 4 * 6 // 2,
    ),
    "conv2d channels last": (
        nn.Conv2d(4, 6, 3, **SAME).to(memory_format=torch.channels_last),
        [rand(2, 4, 5, 5).to(memory_format=torch.channels_last)],
        2 * 25 * 9 * 4 * 6,
    ),
    "conv2d around": (
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
        [rand(1, 4, 5, 5)],
        25 * 9 * 4 * 6,
    ),
    "conv3d": (nn.Conv3d(2, 4, 3), [rand(1, 2, 5, 5, 5)], 27 * 27 * 2 * 4),
    # The weights reach out from each place of the input.
    "conv1d transposed": (nn.ConvTranspose1d(4, 6, 3), [rand(1, 4, 8)], 8 * 3 * 4 * 6),
    "conv2d transposed": (
        nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2),
        [rand(1, 4, 5, 5)],
        25 * 9 * 4 * 6 // 2,
    ),
    "conv3d transposed": (
        nn.ConvTranspose3d(2, 4, 2, stride=2),
        [rand(1, 2, 3, 3, 3)],
        27 * 8 * 2 * 4,
    ),
    "conv with time first": (
        Do(lambda x, w, b: functional.conv_tbc(x, w, b), (3, 4, 6), (6,)),
        [rand(5, 2, 4)],
        3 * 2 * 3 * 4 * 6,
    ),
    "conv deformed": (
        Do(lambda x, own: own(x, torch.zeros(1, 18, 6, 6)), own=DeformConv2d(3, 4, 3)),
        [rand(1, 3, 8, 8)],
        36 * 9 * 3 * 4,
    ),
    "bilinear": (nn.Bilinear(3, 4, 5), [rand(2, 3), rand(2, 4)], 2 * 3 * 4 * 5),
    "bilinear of tokens": (nn.Bilinear(3, 4, 5), [rand(2, 6, 3), rand(2, 6, 4)], 12 * 3 * 4 * 5),
    "embedding": (nn.Embedding(10, 4), [torch.arange(3)], 0),
    "embedding bag": (nn.EmbeddingBag(10, 4), [torch.arange(6).view(2, 3)], 0),
    "normalisation": (
        nn.Sequential(nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm([4, 5, 5])),
        [rand(2, 4, 5, 5)],
        0,
    ),
    "rms norm": (nn.RMSNorm([4, 5]), [rand(2, 4, 5)], 0),
    "prelu": (nn.PReLU(4), [rand(2, 4, 5)], 0),
    "positions": (
        nn.Sequential(nn.Linear(4, 4), Do(lambda x, p: x + p, (3, 4))),
        [rand(2, 3, 4)],
        2 * 3 * 4 * 4,
    ),
    "pooling": (nn.AdaptiveAvgPool2d(1), [rand(2, 4, 5, 5)], 0),
    "einsum": (Do(lambda x, w: torch.einsum("bij,jk->bik", x, w), (4, 5)), [rand(2, 3, 4)], 120),
    "einsum of two inputs": (
        Do(lambda a, b: torch.einsum("bhid,bhjd->bhij", a, b)),
        [rand(2, 3, 4, 5), rand(2, 3, 6, 5)],
        2 * 3 * 4 * 6 * 5,
    ),
    "bmm": (Do(torch.bmm), [rand(2, 3, 4), rand(2, 4, 5)], 2 * 3 * 4 * 5),
    "baddbmm": (Do(torch.baddbmm), [rand(2, 3, 5), rand(2, 3, 4), rand(2, 4, 5)], 120),
    "addbmm": (Do(torch.addbmm), [rand(3, 5), rand(2, 3, 4), rand(2, 4, 5)], 120),
    "matmul, broadcast": (Do(torch.matmul), [rand(2, 3, 4), rand(4, 5)], 120),
    "matrix by vector": (Do(lambda x, w: w @ x, (3, 4)), [rand(4)], 12),
    "added matrix by vector": (Do(torch.addmv), [rand(3), rand(3, 4), rand(4)], 12),
    "vector by vector": (Do(torch.dot), [rand(4), rand(4)], 4),
    "tensordot": (Do(lambda x, w: torch.tensordot(x, w, 1), (4, 5)), [rand(2, 3, 4)], 120),
    "distances": (Do(torch.cdist), [rand(3, 4), rand(5, 4)], 3 * 5 * 4),
    "distances to weights": (Do(torch.cdist, (50, 4)), [rand(30, 4)], 30 * 50 * 4),
    "weight norm": (nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), [rand(2, 4)], 40),
    "attention": (
        itself(nn.MultiheadAttention(16, 4, batch_first=True)),
        [rand(1, 6, 16)],
        4 * 6 * 16 * 16 + attention(6, 16),
    ),
    "attention without weights": (
        itself(nn.MultiheadAttention(16, 4, batch_first=True), need_weights=False),
        [rand(3, 6, 16)],
        3 * (4 * 6 * 16 * 16 + attention(6, 16)),
    ),
    "attention of other keys": (
        Do(
            lambda q, k, v, own: own(q, k, v)[0],
            own=nn.MultiheadAttention(16, 4, kdim=8, vdim=10, batch_first=True),
        ),
        [rand(1, 6, 16), rand(1, 9, 8), rand(1, 9, 10)],
        2 * 6 * 16 * 16 + 9 * 16 * (8 + 10) + 2 * 6 * 9 * 16,
    ),
    "encoder layer": (
        nn.TransformerEncoderLayer(64, 4, 256, batch_first=True),
        [rand(1, 16, 64)],
        819_200,
    ),
    "encoder, norm first, gelu": (
        nn.TransformerEncoder(
            nn.TransformerEncoderLayer(
                16, 2, 32, batch_first=True, norm_first=True, activation="gelu"
            ),
            3,
            enable_nested_tensor=False,
        ),
        [rand(2, 5, 16)],
        2 * 3 * encoder(5, 16, 32),
    ),
    "decoder layer": (
        Do(lambda x, own: own(x, x), own=nn.TransformerDecoderLayer(16, 2, 32, batch_first=True)),
        [rand(1, 5, 16)],
        encoder(5, 16, 32) + 4 * 5 * 16 * 16 + attention(5, 16),
    ),
    "sdpa": (Do(sdpa), [rand(1, 2, 7, 8), rand(1, 2, 9, 8), rand(1, 2, 9, 8)], 2 * 7 * 9 * 16),
    "sdpa of wider values": (
        Do(sdpa),
        [rand(1, 2, 7, 8), rand(1, 2, 9, 8), rand(1, 2, 9, 6)],
        2 * 7 * 9 * (8 + 6),
    ),
    "sdpa of shared keys": (
        Do(lambda q, k, v: sdpa(q, k, v, enable_gqa=True)),
        [rand(1, 4, 7, 8), rand(1, 2, 9, 8), rand(1, 2, 9, 8)],
        4 * 7 * 9 * 16,
    ),
    # A mask saves nothing.
    "sdpa, causal": (
        Do(lambda x: sdpa(x, x, x, is_causal=True)),
        [rand(1, 2, 7, 8)],
        2 * 7 * 7 * 16,
    ),
    "lstm": (nn.LSTM(8, 16), [rand(5, 2, 8)], 5 * 2 * lstm(8, 16)),
    "lstm, batch first": (nn.LSTM(8, 16, batch_first=True), [rand(2, 5, 8)], 5 * 2 * lstm(8, 16)),
    "lstm, layers, both ways": (
        nn.LSTM(8, 16, num_layers=2, bidirectional=True, bias=False),
        [rand(5, 1, 8)],
        5 * 2 * (lstm(8, 16) + lstm(32, 16)),
    ),
    "lstm, projected": (
        nn.LSTM(8, 16, num_layers=2, proj_size=4),
        [rand(5, 1, 8)],
        5 * (lstm(8, 16, out=4) + lstm(4, 16, out=4)),
    ),
    "gru": (
        nn.GRU(8, 16, num_layers=2, bidirectional=True),
        [rand(5, 1, 8)],
        5 * 2 * (lstm(8, 16, gates=3) + lstm(32, 16, gates=3)),
    ),
    "rnn": (nn.RNN(8, 16), [rand(5, 1, 8)], 5 * lstm(8, 16, gates=1)),
    "lstm cell": (nn.LSTMCell(8, 16), [rand(3, 8)], 3 * lstm(8, 16)),
    "gru cell": (nn.GRUCell(8, 16), [rand(3, 8)], 3 * lstm(8, 16, gates=3)),
    "rnn cell": (nn.RNNCell(8, 16), [rand(3, 8)], 3 * lstm(8, 16, gates=1)),
}


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("what", BY_HAND)
def test_macs_equal_those_computed_by_hand(what, training):
    module, inputs, expected = BY_HAND[what]
    found = counted(module.train(training), *inputs)
    assert (found.macs, found.doubts) == (expected, [])
    assert torch.backends.mha.get_fastpath_enabled()
    assert not any(part._forward_pre_hooks for part in module.modules())


@pytest.mark.parametrize("backend", list(torch.nn.attention.SDPBackend.__members__))
def test_attention_is_counted_with_every_backend(backend):
    backend = torch.nn.attention.SDPBackend.__members__[backend]
    one = rand(1, 2, 7, 8)
    with torch.nn.attention.sdpa_kernel([backend, torch.nn.attention.SDPBackend.MATH]):
        assert macs(Do(sdpa), one, one, one) == 2 * 7 * 7 * 16


def test_gpu_only_operations_are_counted_by_shapes():
    """cuDNN gives all weights of all layers and directions in one list, biases among them."""
    weights = [(64, 8), (64, 16), (64,), (64,), (64, 16), (64, 16), (64,), (64,)]
    for name in ("aten._cudnn_rnn", "aten.miopen_rnn"):
        assert FORMULAS[name]((5, 2, 8), weights, 4) == 10 * (lstm(8, 16) + lstm(16, 16))


@pytest.mark.filterwarnings("ignore")
def test_quantized_linear_layers_are_counted():
    quantized = torch.ao.quantization.quantize_dynamic(
        nn.Sequential(nn.Linear(4, 5)).eval(), {nn.Linear}
    )
    assert counted(quantized, rand(2, 3, 4)) == (120, [])


@pytest.mark.filterwarnings("ignore")
def test_a_script_is_counted():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    expected = 36 * 9 * 3 * 4 + 4 * 36 * 5
    assert counted(torch.jit.script(module), rand(1, 3, 8, 8)) == (expected, [])


def hidden(x, w):
    """Outside of what PyTorch sees."""
    return torch.from_numpy(x.detach().numpy() @ w.detach().numpy())


@torch.library.custom_op("early_exit_tests::product", mutates_args=())
def product(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return x @ w


DOUBTFUL = {
    "outside": (Do(hidden, (4, 5)), r"weights\.0 is used by no operation of PyTorch"),
    "outside, beside a linear layer": (
        nn.Sequential(nn.Linear(4, 4), Do(hidden, (4, 5))),
        r"1\.weights\.0 is used by no operation of PyTorch",
    ),
    "an operation of another package": (
        nn.Sequential(nn.Linear(4, 4), Do(product, (4, 5))),
        r"early_exit_tests\.product is an operation that is not counted, and reads 1\.weights\.0",
    ),
    "a product by hand": (
        nn.Sequential(nn.Linear(4, 4), Do(lambda x, w: (x[..., None] * w).sum(-2), (4, 5))),
        r"aten\.mul is an operation that is not counted, and reads 1\.weights\.0",
    ),
    "made of weights": (
        nn.Sequential(
            nn.Linear(4, 4),
            Do(lambda x, w: (x[..., None, :] - w.softmax(0)).square().sum(-1), (5, 4)),
        ),
        r"aten\.sub is .* reads 1\.weights\.0",
    ),
    "a sparse product": (
        nn.Sequential(nn.Linear(4, 4), Do(lambda x, w: torch.sparse.mm(x.to_sparse(), w), (4, 5))),
        "is an operation that is not counted, and reads",
    ),
    "scales": (Do(lambda x, w: x * w, (3, 4)), "it has weights .*multiplies no matrix by them"),
    "an unused matrix": (
        Do(lambda x, own: x, own=nn.Linear(4, 4)),
        r"it has weights \(own\.weight\), but multiplies no matrix",
    ),
}


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("what", DOUBTFUL)
def test_a_count_that_may_be_too_low_is_doubted(what):
    module, message = DOUBTFUL[what]
    given = rand(3, 4)
    found = counted(module, given)
    assert len(found.doubts) == 1, found.doubts
    assert re.search(message, found.doubts[0]), found.doubts


def test_a_doubtful_part_is_named(caplog):
    network = MultiExitNetwork()
    network.stages = nn.ModuleList([nn.Linear(4, 4), Do(hidden, (4, 4))])
    network.heads = nn.ModuleList([nn.Linear(4, 5), nn.Linear(4, 5)])
    messages = []
    assert count_macs(network, rand(1, 4), messages.append) == {
        ("stage", 1): 16,
        ("head", 1): 20,
        ("stage", 2): 0,
        ("head", 2): 20,
    }
    assert len(messages) == 1
    assert re.match(
        r"cost: stage 2: .* 0 MACs are too few.*set calibration\.cost to ms", messages[0]
    )
    # By default messages go to the log.
    count_macs(network, rand(1, 4))
    assert messages == caplog.messages


def test_a_part_that_cannot_run_in_a_precision_is_named():
    network = MultiExitNetwork()
    network.stages = nn.ModuleList([nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)])
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    mixed = nn.Sequential(Do(lambda x: x.mean((2, 3)) @ torch.ones(4, 5)))
    network.heads = nn.ModuleList([pool, mixed])
    engine = Engine(precision="bf16")
    images = engine.prepare(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    with pytest.raises(InputError, match=r"^cost: head 2 cannot be run in bfloat16 on cpu .*fp32"):
        count_macs(engine.ready(network), images)
    # The advice helps.
    engine = Engine()
    images = engine.prepare(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))
    assert count_macs(engine.ready(network), images)["head", 2] == 20


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_macs_of_branchynet_are_those_of_the_design(precision, memory_format):
    engine = Engine("cpu", precision, memory_format)
    network = engine.ready(build_network("branchynet", 10, [3, 32, 32]))
    found = count_macs(network, engine.prepare(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)))
    each = [found["stage", k] + found["head", k] for k in range(1, 7)]
    assert np.cumsum(each) / 1e6 == pytest.approx(
        [1.96, 11.63, 16.81, 26.33, 31.21, 40.96], abs=0.005
    )


@pytest.mark.parametrize("path", sorted(CHECKPOINTS.glob("*.json")), ids=lambda path: path.stem)
def test_macs_of_shipped_networks_are_those_of_their_cards(path, recwarn):
    card = json.loads(path.read_text(encoding="utf-8"))
    messages = []
    network, described = load_network(path.with_suffix(".safetensors"))
    found = count_macs(network, InputSpec.read(described).batch(1), messages.append)
    stages = np.cumsum([found["stage", k] for k in range(1, len(card["exits"]) + 1)])
    whole = [int(stages[k]) + found["head", k + 1] for k in range(len(stages))]
    assert whole == [row["macs"] for row in card["exits"]]
    assert messages == []


def test_macs_of_a_vision_transformer_are_those_by_hand():
    side, patch, layers, width, hidden, classes = 32, 8, 2, 16, 32, 5
    backbone = VisionTransformer(side, patch, layers, 2, width, hidden, num_classes=classes)
    after = [f"encoder.layers.encoder_layer_{k}" for k in range(layers)]
    network = with_exits(backbone.eval(), after, classes, [3, side, side]).eval()
    patches = (side // patch) ** 2
    tokens = patches + 1
    messages = []
    assert count_macs(network, rand(1, 3, side, side), messages.append) == {
        ("stage", 1): patches * 3 * patch**2 * width + encoder(tokens, width, hidden),
        ("head", 1): width * classes,
        ("stage", 2): encoder(tokens, width, hidden),
        ("head", 2): width * classes,
    }
    assert messages == []
