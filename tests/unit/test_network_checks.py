"""What a network must do is tried before anything long; each failure names its head."""

import pytest
import torch
from torch import nn

from early_exit.errors import InputError
from early_exit.networks.checks import check, check_gradients

SHAPE = [3, 4, 4]
# The networks below are made with the module: the same ones whatever ran before.
torch.manual_seed(0)


class Net(nn.Module):
    """Three exits of one convolution each; parts of it may be replaced by name."""

    def __init__(self, **parts):
        super().__init__()
        self.stages = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(3))
        self.heads = nn.ModuleList(head(5) for _ in range(3))
        for name, part in parts.items():
            kind, number = name.split("_")
            getattr(self, kind)[int(number)] = part

    def forward(self, images):
        logits = []
        for stage, given in zip(self.stages, self.heads, strict=True):
            images = stage(images)
            logits.append(given(images))
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


def test_a_network_that_is_right_passes_and_is_left_alone():
    network = Net()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.random.get_rng_state()
    check(network, 5, SHAPE)
    check_gradients(network, (1.0, 1.0, 1.0), SHAPE)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


WRONG = {
    "classes": (
        Net(heads_1=head(4)),
        r"head 2: gives \(2, 4\) for 2 pictures, but must .*\(2, 5\)",
    ),
    "flat": (Net(heads_0=Function(lambda f: f.mean())), r"head 1: gives \(\) for 2"),
    "tuple": (Net(heads_2=Function(lambda f: (f, f))), "head 3: gives tuple"),
    "infinite": (
        Net(heads_0=Function(lambda f, h: h(f) / 0, head(5))),
        "head 1: gives logits that are infinite",
    ),
    "batch": (
        Net(heads_1=nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), head(5))),
        r"head 2: says something else of a picture alone than in a batch",
    ),
    "in place": (
        Net(heads_1=nn.Sequential(nn.ReLU(inplace=True), head(5))),
        "head 2: changes what stage 2 gives",
    ),
    "pictures in place": (
        Net(stages_0=nn.Sequential(Function(lambda f: f.sub_(0.5)), nn.Conv2d(3, 3, 1))),
        r"stage 1: changes the pictures, .*inplace=False",
    ),
    "pictures handed on": (
        Net(
            stages_0=nn.Identity(),
            stages_1=nn.Sequential(Function(lambda f: f.sub_(0.5)), nn.Conv2d(3, 3, 1)),
        ),
        "stage 2: changes the pictures",
    ),
    "stage": (
        Net(stages_1=nn.Conv2d(7, 3, 1)),
        r"stage 2: cannot take what stage 1 gives of shape \[3, 4, 4\] \(RuntimeError",
    ),
    "stage tuple": (Net(stages_1=Function(lambda f: (f, f))), "stage 2: gives a tuple"),
    "head": (Net(heads_2=nn.Linear(7, 5)), r"head 3: cannot take what stage 3 gives, shape \[3, 4"),
    "pictures": (Net(stages_0=nn.Conv2d(1, 3, 1)), r"cannot take pictures of shape \[3, 4, 4\]"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named(what):
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
        (1, 1, "stages: 1, but must be 2 at least"),
        (3, 2, "heads: 2 for 3 stages; give one for each"),
        (None, 2, "stages: none, but must be an nn.ModuleList"),
        ([nn.Conv2d(3, 3, 1)] * 2, 2, "stages: a list, but must be an nn.ModuleList"),
    ],
)
def test_stages_and_heads_are_there(stages, heads, message):
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
def test_a_head_that_would_not_be_trained_is_named(what):
    network, message = UNTRAINED[what]
    with pytest.raises(InputError, match=f"^{message}"):
        check_gradients(network, (1.0, 1.0, 1.0), SHAPE)


def test_a_head_that_is_not_trained_needs_no_gradient():
    check_gradients(UNTRAINED["zero"][0], (0.0, 1.0, 1.0), SHAPE)
