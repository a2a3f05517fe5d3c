"""Checks of a network: each error names the stage or head."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from early_exit.datasets.base import Split
from early_exit.errors import InputError
from early_exit.inference.cost import measure_costs
from early_exit.inference.engine import Engine
from early_exit.inference.exits import all_exits
from early_exit.inference.runner import run_policy
from early_exit.networks import MultiExitNetwork
from early_exit.networks.build import build_network, cut_network, describe_network
from early_exit.networks.checkpoint import load_network, save_network
from early_exit.networks.checks import check
from early_exit.networks.gradients import check_gradients
from early_exit.networks.memory import kept_contiguous
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.training.loop import train
from early_exit.training.recipe import Recipe

SHAPE = [3, 4, 4]
# The networks below are built at import: seed them.
torch.manual_seed(0)


class Net(nn.Module):
    """Three exits of one convolution each; keyword arguments replace parts by name."""

    def __init__(self, **parts):
        super().__init__()
        self.stages = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(3))
        self.heads = nn.ModuleList(head(5) for _ in range(3))
        for name, part in parts.items():
            kind, number = name.split("_")
            getattr(self, kind)[int(number)] = part

    def forward(self, images):
        logits = []
        for stage, head in zip(self.stages, self.heads, strict=True):
            images = stage(images)
            logits.append(head(images))
        return torch.stack(logits, dim=1)


def head(classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, features):
        return self.function(features, *self.parts)


def test_a_valid_network_passes_unchanged():
    network = Net()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    strides = {key: value.stride() for key, value in network.state_dict().items()}
    state = torch.random.get_rng_state()
    check(network, 5, SHAPE)
    check_gradients(network, (1.0, 1.0, 1.0), SHAPE)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    # Strides of 1 x 1 convolutions may differ, and decide how they are computed.
    assert strides == {key: value.stride() for key, value in network.state_dict().items()}
    assert all(parameter.grad is None for parameter in network.parameters())


COUNT = iter(range(1000))
WRONG = {
    "classes": (
        Net(heads_1=head(4)),
        r"head 2: returns \(2, 4\) for 2 images, but must .*\(2, 5\)",
    ),
    "flat": (Net(heads_0=Function(lambda f: f.mean())), r"head 1: returns \(\) for 2"),
    "tuple": (Net(heads_2=Function(lambda f: (f, f))), r"head 3: returns \(2, 3, 4, 4\)"),
    "confidence": (
        Net(heads_2=Function(lambda f, h: (h(f), f), head(5))),
        r"head 3: returns a confidence of \(2, 3, 4, 4\) for 2 images, but must return \(2,\)",
    ),
    "infinite": (
        Net(heads_0=Function(lambda f, h: h(f) / 0, head(5))),
        "head 1: returns logits that are infinite",
    ),
    "batch": (
        Net(heads_1=nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), head(5))),
        r"head 2: returns other logits \(by .*\) for an image alone than in a batch",
    ),
    "the batch's mean": (
        Net(heads_0=nn.Sequential(Function(lambda f: f - f.mean(0)), head(5))),
        "head 1: returns other logits .* for an image alone than in a batch",
    ),
    "in place": (
        Net(heads_1=nn.Sequential(nn.ReLU(inplace=True), head(5))),
        "head 2: changes the output of stage 2",
    ),
    "images in place": (
        Net(stages_0=nn.Sequential(Function(lambda f: f.sub_(0.5)), nn.Conv2d(3, 3, 1))),
        r"stage 1: changes the images, .*inplace=False",
    ),
    "images handed on": (
        Net(
            stages_0=nn.Identity(),
            stages_1=nn.Sequential(Function(lambda f: f.sub_(0.5)), nn.Conv2d(3, 3, 1)),
        ),
        "stage 2: changes the images",
    ),
    "stage": (
        Net(stages_1=nn.Conv2d(7, 3, 1)),
        r"stage 2: cannot take the output of stage 1, shape \[3, 4, 4\] \(RuntimeError",
    ),
    "stage object": (Net(stages_1=Function(lambda f: object())), "stage 2: returns a object with"),
    "stage numbers": (Net(stages_1=Function(lambda f: (1, 2))), "stage 2: returns a tuple without"),
    "stage tuple": (
        Net(stages_1=Function(lambda f: (f, f))),
        r"head 2: cannot take the output of stage 2, shape \(\[3, 4, 4\], \[3, 4, 4\]\)",
    ),
    "head": (
        Net(heads_2=nn.Linear(7, 5)),
        r"head 3: cannot take the output of stage 3, shape \[3, 4",
    ),
    "images": (Net(stages_0=nn.Conv2d(1, 3, 1)), r"cannot take images of shape \[3, 4, 4\]"),
    "whole numbers": (
        Net(heads_0=Function(lambda f, h: h(f).long(), head(5))),
        r"head 1: returns logits of type torch\.int64, but must return floating-point numbers",
    ),
    "random": (
        Net(heads_1=Function(lambda f, h: h(f) + torch.randn(1), head(5))),
        r"head 2: returns other logits \(by .*\) for the same images each time",
    ),
    "functional dropout": (
        Net(stages_1=Function(lambda f: nn.functional.dropout(f, 0.5))),
        "stage 2: returns other features for the same images each time",
    ),
    "counted": (
        Net(stages_2=Function(lambda f: f + next(COUNT))),
        "stage 3: returns other features for the same images each time",
    ),
    "attention among samples": (
        # Its logits would not show it: at first they depend on a token that is the same for all.
        Net(
            stages_0=Function(lambda f: torch.cat([0 * f[:, :, :1, 0], f.flatten(2)], 2).mT),
            stages_1=nn.TransformerEncoderLayer(3, 1, 8),
            stages_2=nn.Identity(),
            **{f"heads_{k}": Function(lambda f, h: h(f[:, 0]), nn.Linear(3, 5)) for k in range(3)},
        ),
        "stage 2: returns other features for an image alone than in a batch.*without batch_first",
    ),
    "samples in another axis": (
        Net(
            stages_0=Function(lambda f: f.flatten(2).permute(2, 0, 1)),
            stages_1=nn.Identity(),
            stages_2=nn.Identity(),
            **{
                f"heads_{k}": Function(lambda f, h: h(f.mean(0)), nn.Linear(3, 5)) for k in range(3)
            },
        ),
        r"stage 1: returns \(16, 2, 3\) for 2 images, but the first axis must be the batch",
    ),
    "no axis": (Net(stages_0=Function(torch.sum)), r"stage 1: returns \(\) for 2 images"),
    "a view of a transposed tensor": (
        Net(
            stages_0=Function(lambda f: f.flatten(2).transpose(1, 2)),
            heads_0=Function(lambda f, h: h(f.mean(1)), nn.Linear(3, 5)),
            stages_1=Function(lambda f: f.transpose(1, 2).view(-1).reshape(-1, 3, 4, 4)),
        ),
        r"stage 2: cannot take the output of stage 1, shape \[16, 3\], once others have exited"
        r" \(RuntimeError: view size.*; use reshape instead of view$",
    ),
    "dependent on the index": (
        Net(stages_1=Function(lambda f: f + torch.arange(len(f))[:, None, None, None])),
        "stage 2: returns other features for an image alone than in a batch",
    ),
    "escape codes": (
        Net(stages_1=Function(lambda f: fail())),
        r"stage 2: cannot take the output of stage 1, shape \[3, 4, 4\] \(ValueError: the cause\)$",
    ),
}


def fail():
    """Fail as libraries that raise the last of several steps."""
    try:
        raise ValueError("\x1b[96mthe\ncause\x1b[0m")
    except ValueError as error:
        raise RuntimeError("\x1b[96mThis is step 3/3") from error


@pytest.mark.parametrize("what", WRONG)
def test_faults_are_an_error(what):
    network, message = WRONG[what]
    with pytest.raises(InputError, match=f"^{message}") as error:
        check(network, 5, SHAPE)
    assert "\n" not in str(error.value)


def test_a_later_stage_may_work_in_place():
    relu = nn.ReLU(inplace=True)
    check(Net(stages_1=nn.Sequential(relu, nn.Conv2d(3, 3, 1))), 5, SHAPE)


@pytest.mark.parametrize(
    ("stages", "heads", "message"),
    [
        (1, 1, "stages: 1, but must be at least 2"),
        (3, 2, "heads: 2 for 3 stages; give one for each"),
        (None, 2, "stages: none, but must be an nn.ModuleList"),
        ([nn.Conv2d(3, 3, 1)] * 2, 2, "stages: a list, but must be an nn.ModuleList"),
    ],
)
def test_stages_and_heads_are_required(stages, heads, message):
    network = nn.Module()
    if isinstance(stages, int):
        stages = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(stages))
    if stages is not None:
        network.stages = stages
    network.heads = nn.ModuleList(head(5) for _ in range(heads))
    with pytest.raises(InputError, match=message):
        check(network, 5, SHAPE)


UNTRAINED = {
    "unused": (
        Net(heads_1=Function(lambda f, used, unused: used(f), head(5), nn.Linear(2, 2))),
        r"head 2: no gradient reaches its parts\.1\.weight",
    ),
    "detached": (
        Net(heads_2=Function(lambda f, own: own(f).detach(), head(5))),
        r"head 3: (has no gradient|no gradient reaches)",
    ),
    "zero": (
        Net(heads_0=Function(lambda f, own: own(f) * 0, head(5))),
        "head 1: every gradient is 0",
    ),
    "in place": (
        Net(
            stages_1=nn.Sequential(Function(torch.Tensor.relu_), nn.Conv2d(3, 3, 1)),
            heads_0=Function(lambda f, own: own(f * f), head(5)),
        ),
        "head 1: has no gradient",
    ),
}


@pytest.mark.parametrize("what", UNTRAINED)
def test_a_head_without_gradient_is_an_error(what):
    network, message = UNTRAINED[what]
    with pytest.raises(InputError, match=f"^{message}"):
        check_gradients(network, (1.0, 1.0, 1.0), SHAPE)


def test_an_untrained_head_needs_no_gradient():
    check_gradients(UNTRAINED["zero"][0], (0.0, 1.0, 1.0), SHAPE)


PROBABLE = {
    "softmax": (nn.Softmax(dim=1), True),
    "log softmax": (nn.LogSoftmax(dim=1), False),
    "sigmoid": (nn.Sigmoid(), False),
    "relu": (nn.ReLU(), False),
    "nothing": (nn.Identity(), False),
}


@pytest.mark.parametrize("what", PROBABLE)
def test_probabilities_instead_of_logits_are_a_warning(what, caplog):
    last, warned = PROBABLE[what]
    warnings = []
    network = Net(heads_1=nn.Sequential(head(5), last))
    check(network, 5, SHAPE, warnings.append)
    if not warned:
        assert warnings == []
        return
    assert len(warnings) == 1
    assert warnings[0].startswith("head 2: returns probabilities (none below 0, each row sums to 1")
    # By default it is logged; the advice works.
    check(network, 5, SHAPE)
    assert caplog.messages == warnings
    network.heads[1][1] = nn.LogSoftmax(dim=1)
    check(network, 5, SHAPE, warnings.append)
    assert len(warnings) == 1


class Flat(nn.Module):
    def forward(self, x):
        return x.view(x.size(0), -1)


class Flattened(MultiExitNetwork):
    """LeNet as usually written, which fails in channels-last memory."""

    def __init__(self, classes=5, flat=Flat):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 5), nn.ReLU(), nn.MaxPool2d(2))
            for before, after in ((3, 6), (6, 16))
        )
        self.heads = nn.ModuleList(
            nn.Sequential(flat(), nn.Linear(size, classes)) for size in (1176, 400)
        )


class Swapped(nn.Module):
    """Reads values in memory order, which depends on the memory format."""

    def forward(self, x):
        return x.as_strided((len(x), x[0].numel()), (x[0].numel(), 1))


WIDE = [3, 32, 32]


def test_convolutions_in_three_dimensions_are_kept_contiguous():
    """Their weights have no channels-last format."""
    network = MultiExitNetwork()
    network.stages = nn.ModuleList(
        [Function(lambda f, conv: conv(f[:, None]), nn.Conv3d(1, 3, 1)), nn.Conv3d(3, 3, 1)]
    )
    network.heads = nn.ModuleList(
        nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 5)) for _ in range(2)
    )
    bare = copy.deepcopy(network)
    check(network, 5, SHAPE)
    assert kept_contiguous(network)
    check_gradients(bare, (1.0, 1.0), SHAPE)
    assert kept_contiguous(bare)
    images = torch.randint(0, 256, (4, *SHAPE), dtype=torch.uint8)
    assert all_exits(network, images, 2, Engine()).shape == (4, 2, 5)


@pytest.mark.parametrize("flat", [Flat, Swapped])
def test_a_network_is_kept_contiguous_if_it_must_be(flat, caplog):
    caplog.set_level("INFO")
    torch.manual_seed(0)
    network = Flattened(flat=flat)
    check(network, 5, WIDE)
    assert kept_contiguous(network)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("The network is run in contiguous memory")
    check_gradients(network, (1.0, 1.0), WIDE)
    images = torch.randint(0, 256, (40, *WIDE), dtype=torch.uint8)
    expected = network(images / 255)
    for memory_format in ("channels_last", "contiguous"):
        found = all_exits(network, images, 16, Engine(memory_format=memory_format))
        assert torch.allclose(torch.from_numpy(found), expected, atol=1e-5)
    policy = Policy(ExitCriterion(), (1.6,))
    for regroup in (None, 16):
        run = run_policy(network, policy, images, 7, Engine(), regroup)
        assert 0 < (run.exit == 0).sum() < 40
        chosen = expected.argmax(2)[torch.arange(40), run.exit]
        assert (run.prediction == chosen.numpy()).all()
    alone = cut_network(network, 2)
    assert alone(Engine().prepare(images)).shape == (40, 1, 5)
    assert kept_contiguous(alone)
    costs = measure_costs(network, WIDE, [2], 3, ["entropy"], Engine())
    assert (costs.ms_per_sample > 0).all()


@pytest.mark.parametrize("checked", [True, False])
def test_a_contiguous_network_is_trained(checked):
    """Whether or not it was checked before."""
    torch.manual_seed(0)
    network = Flattened()
    if checked:
        check(network, 5, WIDE)
    images = torch.randint(0, 256, (16, *WIDE), dtype=torch.uint8)
    data = Split(images, torch.arange(16) % 5, torch.arange(16))
    log = train(network, data, Recipe(2, 8, 0.01, 0.01, averaging=0.9), 0)
    assert len(log) == 2


def test_other_networks_run_in_channels_last_memory():
    network = Flattened(flat=nn.Flatten)
    check(network, 5, WIDE)
    check_gradients(network, (1.0, 1.0), WIDE)
    assert not kept_contiguous(network)
    # The check restores its weights.
    assert network.stages[1][0].weight.is_contiguous()
    weight = Engine().ready(network).stages[1][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_a_loaded_network_is_kept_contiguous(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = Path(__file__).read_text(encoding="utf-8")
    classes = text[text.index("class Flat(") : text.index("class Swapped")]
    header = "from torch import nn\n\n\nclass MultiExitNetwork(nn.Module):\n    pass\n\n\n"
    Path("own.py").write_text(header + classes, encoding="utf-8")
    settings = {"name": "own.py:Flattened", "arguments": {}}
    network = build_network(settings["name"], 5, WIDE)
    assert kept_contiguous(network)
    provenance = describe_network(settings) | {"classes": 5, "shape": WIDE, "data": "0"}
    save_network(network, tmp_path / "network.safetensors", provenance)
    loaded, _ = load_network(tmp_path / "network.safetensors", [settings["name"]])
    assert kept_contiguous(loaded)
    images = torch.rand(2, *WIDE)
    with torch.no_grad():
        expected = network(images)
        found = Engine().ready(loaded)(images.to(memory_format=torch.channels_last))
    assert torch.equal(found, expected)


def test_training_in_reduced_precision_is_checked():
    """A layer that requires a fixed type."""
    torch.manual_seed(0)
    network = Net(heads_0=Function(lambda f, h: mixed(h(f)), head(5)))
    check_gradients(network, (1.0, 1.0, 1.0), SHAPE)
    with pytest.raises(
        InputError, match=r"training mode and bfloat16 .*training\.precision to fp32$"
    ):
        check_gradients(network, (1.0, 1.0, 1.0), SHAPE, torch.bfloat16)


def mixed(logits):
    """Logits, as of code that was written for one type."""
    assert logits.dtype == torch.float32
    return logits
