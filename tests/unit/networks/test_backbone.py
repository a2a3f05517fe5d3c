"""Backbones with exits: equal to the backbone to the last bit."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from torchvision import models

from early_exit.datasets.base import Split
from early_exit.errors import InputError
from early_exit.inference.engine import Engine
from early_exit.inference.runner import run_policy
from early_exit.networks.backbone import with_exits
from early_exit.networks.checkpoint import load_checkpoint, load_start
from early_exit.networks.checks import check
from early_exit.networks.gradients import check_gradients
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.training.loop import train
from early_exit.training.recipe import Recipe

SHAPE = [3, 16, 16]
LAYERS = ["layer1", "layer2", "layer3", "layer4"]


def narrow(classes=5):
    """A ResNet of four narrow layers."""
    torch.manual_seed(0)
    model = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=classes)
    for parameter in model.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    return model.eval()


def wrapped(backbone=None):
    return with_exits(backbone or narrow(), LAYERS, 5, SHAPE).eval()


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("resnet18", ["conv1", "layer2.0", "layer4"]),
        ("mobilenet_v3_small", ["features.1", "features.6", "features.12"]),
        ("densenet121", ["features.conv0", "features.denseblock1", "features.norm5"]),
        ("squeezenet1_1", ["features.0", "features.7", "features.12"]),
        ("shufflenet_v2_x0_5", ["stage2", "conv5"]),
    ],
)
def test_the_final_exit_equals_the_backbone(name, after):
    torch.manual_seed(0)
    backbone = models.get_model(name, num_classes=5).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before = backbone(images)
        network = with_exits(backbone, after, 5, [3, 32, 32]).eval()
        found = network(images)
        # Modules after an exit do not change its features.
        features = images
        for stage, following in pairwise(network.stages):
            features = stage(features)
            kept = features.clone()
            following(features)
            assert torch.equal(features, kept)
    assert found.shape == (2, len(after), 5)
    assert torch.equal(found[:, -1], before)
    check(network, 5, [3, 32, 32])
    check_gradients(network, (1.0,) * len(after), [3, 32, 32])
    # Every weight of the backbone is renamed.
    assert set(network.names) == set(backbone.state_dict())


def test_tokens_are_averaged():
    vit = models.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=5).eval()
    after = ["encoder.layers.encoder_layer_0", "encoder.ln"]
    images = torch.rand(2, 3, 32, 32)
    network = with_exits(vit, after, 5, [3, 32, 32]).eval()
    with torch.no_grad():
        assert torch.equal(network(images)[:, -1], vit(images))


def test_a_custom_head():
    network = with_exits(
        narrow(),
        LAYERS,
        5,
        SHAPE,
        lambda shape, classes: nn.Sequential(nn.Flatten(), nn.LazyLinear(classes)),
    )
    check(network, 5, SHAPE)
    assert network.heads[0][1].in_features == 64 * 4 * 4


@pytest.mark.parametrize(
    ("after", "message"),
    [
        (["layer1"], "must name at least 2 modules"),
        (["layer1", "layer22"], r"layer22 is no module that runs by itself; did you mean layer2\?"),
        (["layer1", "xyz"], "known: conv1, bn1"),
        (["layer1", "layer1.0"], "layer1 is no module that runs by itself"),
        (["layer2", "layer1"], "layer1 runs before layer2"),
        (["layer1", "fc"], "nothing follows fc"),
        (["layer9*", "layer4"], r"layer9\* matches no module"),
        ("layer4", "must name at least 2 modules"),
        ("layer4*", r"\['layer4\*'\] names \['layer4'\], but must name at least 2 modules"),
        (["layer*", "layer4"], "layer4 runs before layer4"),
    ],
)
def test_an_impossible_cut_is_an_error(after, message):
    with pytest.raises(InputError, match=f"with_exits: .*{message}"):
        with_exits(narrow(), after, 5, SHAPE)


class Twisted(nn.Module):
    """Modules that torch.fx cannot trace, or that cannot be cut."""

    def __init__(self, how):
        super().__init__()
        self.a, self.b, self.how = nn.Linear(2, 2), nn.Linear(2, 2), how

    def forward(self, x):
        first = self.a(x)
        if self.how == "branch" and first.sum() > 0:
            first = -first
        second = self.b(first)
        if self.how == "shared":
            second = self.a(second)
        return (second, first) if self.how == "two" else second * 2


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("branch", "Twisted cannot be traced by torch.fx"),
        ("two", "returns more than one tensor"),
    ],
)
def test_a_backbone_that_cannot_be_cut_is_an_error(how, message):
    with pytest.raises(InputError, match=message):
        with_exits(Twisted(how), ["a", "b"], 2, [2])


class Arguments(nn.Module):
    """A forward with further arguments, all with defaults."""

    def __init__(self, how=None):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)
        self.how = how

    def forward(self, x, mode=None, scale=2.0, *more, mask=None, **named):
        x = self.a(x, **named)
        if mode is None:
            x = x.relu()
        if mask is not None or more:
            x = x * mask
        return self.fc(self.b(x).mean((2, 3))) * scale


def test_other_arguments_keep_their_defaults():
    torch.manual_seed(0)
    backbone = Arguments().eval()
    network = with_exits(backbone, ["a", "b"], 5, SHAPE)
    images = torch.rand(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(network(images)[:, -1], backbone(images))


class Block(nn.Module):
    """Passes on an optional argument, as timm's blocks do."""

    def __init__(self):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x, attn_mask=None):
        x = x if attn_mask is None else x * attn_mask
        return x + self.linear(self.norm(x))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.fc = nn.Linear(8, 5)

    def forward_features(self, x, attn_mask=None):
        x = self.embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x, attn_mask=attn_mask)
        return x

    def forward(self, x, attn_mask=None):
        return self.fc(self.forward_features(x, attn_mask=attn_mask).mean(1))


def test_an_omitted_mask_is_no_input():
    backbone = Tokens().eval()
    network = with_exits(backbone, ["blocks.0", "blocks.1", "blocks.2"], 5, SHAPE).eval()
    images = torch.rand(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(network(images)[:, -1], backbone(images))
    assert network.heads[0][1].in_features == 8
    check(network, 5, SHAPE)


class Unseen(nn.Module):
    """A forward with effects that its traced graph does not show."""

    def __init__(self, how):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)
        self.how, self.calls = how, 0

    def forward(self, x):
        x = self.a(x)
        if self.how == "in place":
            x.mul_(3)
        if self.how == "relu in place":
            nn.functional.relu(x, inplace=True)
        x = self.b(x)
        if self.how == "in place, behind":
            x.abs_()
        if self.how == "alias":
            y = x
            y += 1
        if self.how == "traced" and (
            isinstance(x, torch.fx.Proxy) or torch.compiler.is_exporting()
        ):
            x = x * 2
        if self.how == "counts":
            self.calls += 1
            x = x * self.calls
        if self.how == "noise":
            x = x + torch.rand(1)
        return self.fc(x.mean((2, 3)))


# An alias is seen by torch.export alone.
@pytest.mark.parametrize("how", ["in place", "relu in place", "in place, behind", "alias"])
def test_in_place_operations_are_kept(how):
    """On an exit's own features they run after its head."""
    torch.manual_seed(0)
    backbone, images = Unseen(how).eval(), torch.rand(2, *SHAPE)
    with torch.no_grad():
        expected = backbone(images)
        network = with_exits(backbone, ["a", "b"], 5, SHAPE)
        assert torch.equal(network(images)[:, -1], expected)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            "traced",
            r"Unseen cannot be traced by torch\.fx \(the final exit's logits differ by [0-9.e-]+"
            r" from its own: .*in place\), nor exported by torch\.export \(the final exit's logits",
        ),
        ("counts", "returns other logits for the same images each time"),
        ("noise", "returns other logits for the same images each time"),
    ],
)
def test_a_final_exit_that_differs_from_the_backbone_is_an_error(how, message):
    torch.manual_seed(0)
    with pytest.raises(InputError, match=f"^with_exits: .*{message}"):
        with_exits(Unseen(how), ["a", "b"], 5, SHAPE)


def test_the_comparison_restores_the_random_state():
    """Initial weights of heads do not depend on the comparison."""
    state = torch.random.get_rng_state()
    head = nn.Linear(64, 5)
    torch.random.set_rng_state(state)
    network = with_exits(narrow_after(state), ["layer1", "layer4"], 5, SHAPE)
    assert torch.equal(network.heads[0][2].weight, head.weight)


def narrow_after(state):
    model = narrow()
    torch.random.set_rng_state(state)
    return model


class Past(nn.Module):
    """A network with a connection past two exits."""

    def __init__(self, what):
        super().__init__()
        self.one, self.two, self.three = (nn.Linear(2, 2) for _ in range(3))
        self.table = nn.Parameter(torch.rand(2))
        self.what = what

    def forward(self, x):
        first = self.one(x)
        table = self.table * 2
        early = first.relu() + self.table
        rows, width = first.shape
        second = self.two(early)
        third = self.three(second)
        past = {"images": x, "features": first, "between": early, "two": second, "table": table}
        if self.what == "sizes":
            return third + torch.ones(rows * width, device=x.device).view(rows, -1) * x.size(1)
        if self.what == "parameter":
            return third * self.table
        return third + past[self.what]


@pytest.mark.parametrize(
    ("what", "carried"),
    [
        ("images", ["images"] * 3),
        # After the first exit they are its features.
        ("features", [None, "one", "one"]),
        ("between", [None, "add", "add"]),
        ("two", [None, None, "two"]),
        ("table", [None, "mul", "mul"]),
        ("parameter", [None, "table", "table"]),
        ("sizes", [None] * 3),
    ],
)
def test_what_goes_past_an_exit_is_carried_along(what, carried):
    torch.manual_seed(0)
    backbone, inputs = Past(what).eval(), torch.rand(5, 2)
    network = with_exits(backbone, ["one", "two", "three"], 2, [2]).eval()
    with torch.no_grad():
        assert torch.equal(network(inputs)[:, -1], backbone(inputs))
        features = inputs
        for stage, name in zip(network.stages, carried, strict=True):
            features = stage(features)
            if name is None:
                assert isinstance(features, torch.Tensor)
            else:
                assert list(features) == ["features", name]
    # Each weight has one place, also a parameter that is handed on.
    assert set(network.names) == set(backbone.state_dict())
    assert not network.unused
    values = list(network.names.values())
    assert len(values) == len(set(values)) == sum("heads.0" not in v for v in values)
    network(inputs)[:, -1].sum().backward()
    assert network.get_parameter(network.names["table"]).grad is not None


def test_sizes_that_are_used_past_an_exit_are_those_of_the_example():
    network = with_exits(Past("sizes"), ["one", "two", "three"], 2, [2])
    with pytest.raises(InputError, match=r"inputs of shape \(3,\), but the backbone was cut for"):
        network(torch.rand(4, 3))


@pytest.mark.parametrize("after", [["layer1.0.conv1", "layer4"], ["layer1.0.bn1", "layer4.0.bn2"]])
def test_a_cut_inside_of_a_residual_block(after):
    backbone, images = narrow(), torch.rand(2, *SHAPE)
    network = with_exits(backbone, after, 5, SHAPE).eval()
    with torch.no_grad():
        assert list(network.stages[0](images)) == ["features", "maxpool"]
        assert torch.equal(network(images)[:, -1], backbone(images))
        handed_on = network.stages[0](images)
        kept = {name: value.clone() for name, value in handed_on.items()}
        network.stages[1](handed_on)
    assert all(torch.equal(handed_on[name], kept[name]) for name in kept)


class Reused(nn.Module):
    """A later stage works in place on what is carried to it."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = (nn.Linear(4, 4) for _ in range(3))
        self.relu, self.fc = nn.ReLU(inplace=True), nn.Linear(4, 2)

    def forward(self, x):
        first = self.one(x)
        second = self.two(first)
        return self.fc(self.three(second) + self.relu(first))


def test_what_is_carried_is_not_changed_in_place():
    torch.manual_seed(0)
    backbone, inputs = Reused(), torch.randn(3, 4)
    network = with_exits(backbone, ["two", "three"], 2, [4])
    with torch.no_grad():
        handed_on = network.stages[1](network.stages[0](inputs))
        kept = handed_on["one"].clone()
        found = network.heads[1](handed_on)
        assert torch.equal(found, backbone(inputs))
    assert torch.equal(handed_on["one"], kept)


class Counted(nn.Module):
    """A number of the samples' own goes past an exit."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.fc = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        largest = x.max().item()
        return self.fc(self.two(self.one(x)) * largest)


def test_a_number_that_depends_on_the_samples_is_not_carried():
    with pytest.raises(InputError, match=r"takes item, a number that depends on the samples, past"):
        with_exits(Counted(), ["one", "two"], 2, inputs=torch.ones(2, 4))


class Several(nn.Module):
    """A block that returns its features with others, in several ways."""

    def __init__(self, how):
        super().__init__()
        self.linear, self.how = nn.Linear(4, 4), how

    def forward(self, x, past=0.0):
        found = self.linear(x) + past
        if self.how == "nested":
            return None, (found, {"past": x})
        return {"tuple": (found, x), "list": [found, x], "one": (found,)}[self.how]


class OfSeveral(nn.Module):
    def __init__(self, how, exported):
        super().__init__()
        self.blocks = nn.ModuleList(Several(how) for _ in range(3))
        self.fc = nn.Linear(4, 2)
        self.how, self.exported = how, exported

    def forward(self, x):
        past = 0.0
        for block in self.blocks:
            if self.how == "nested":
                _, (x, more) = block(x, past)
                past = more["past"]
            elif self.how == "one":
                (x,) = block(x, past)
            else:
                x, past = block(x, past)
        if self.exported and x.shape[1] != 4:
            # A condition that torch.fx cannot follow.
            x = x * 2
        return self.fc(x + past)


@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize("how", ["tuple", "list", "one", "nested"])
def test_features_are_the_first_tensor_of_several(how, exported):
    torch.manual_seed(0)
    backbone, inputs = OfSeveral(how, exported).eval(), torch.rand(5, 4)
    network = with_exits(backbone, "blocks.*", 2, [4]).eval()
    with torch.no_grad():
        assert torch.equal(network(inputs)[:, -1], backbone(inputs))
        handed_on = network.stages[0](inputs)
        expected = backbone.blocks[0].linear(inputs)
    if how == "one":
        assert torch.equal(handed_on, expected)
    else:
        assert torch.equal(handed_on["features"], expected)
        assert len(handed_on) == 2


class Turned(nn.Module):
    """A network with the samples along the second axis past an exit."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.fc = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        turned = x.transpose(0, 1)
        return self.fc(self.two(self.one(x)).mean(1) + turned.mean(0))


def test_samples_along_another_axis_cannot_be_carried():
    with pytest.raises(
        InputError, match="takes transpose past the exit after one, whose first axis is not the sam"
    ):
        with_exits(Turned(), ["one", "two"], 2, [3, 4])


class Leaves(nn.Module):
    """A network whose result does not depend on its last layer."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        x = self.one(x)
        self.two(x).abs_()
        return x


def test_a_result_from_before_the_last_exit_is_carried():
    backbone, inputs = Leaves(), torch.rand(3, 2)
    network = with_exits(backbone, ["one", "two"], 2, [2])
    assert torch.equal(network(inputs)[:, -1], backbone(inputs))


@pytest.mark.parametrize(
    ("after", "names"),
    [
        ("layer*", LAYERS),
        (["layer[13]"], ["layer1", "layer3"]),
        (["bn1", "layer*"], ["bn1", *LAYERS]),
        # The classifier, after which nothing follows, is left out; the stages run by children.
        ("*", ["conv1", "bn1", "relu", "maxpool", *LAYERS, "avgpool"]),
        # What runs inside of them, in the order in which it runs.
        ("layer?.0.conv*", [f"{layer}.0.conv{k}" for layer in LAYERS for k in (1, 2)]),
    ],
)
def test_a_pattern_names_what_it_matches(after, names):
    backbone, images = narrow(), torch.rand(2, *SHAPE)
    network, same = (with_exits(backbone, one, 5, SHAPE).eval() for one in (after, names))
    assert network.names == same.names
    assert len(network.stages) == len(names)
    with torch.no_grad():
        assert torch.equal(network(images)[:, -1], backbone(images))


def test_the_beginning_of_a_pattern_may_be_left_out():
    backbone = nn.Sequential()
    backbone.deep = nn.Sequential()
    backbone.deep.blocks = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)))
    backbone.fc = nn.Linear(2, 2)
    network = with_exits(backbone, "blocks.*", 2, [2])
    assert network.names["deep.blocks.1.weight"] == "stages.1.deep.blocks.1.weight"
    backbone.other = nn.Sequential()
    backbone.other.blocks = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"several places; give one of deep\.blocks\.\*, other\.b"):
        with_exits(backbone, "blocks.*", 2, [2])
    assert len(with_exits(backbone, "deep.blocks.*", 2, [2]).stages) == 3


@pytest.mark.parametrize(
    ("name", "after", "shape", "widths"),
    [
        ("swin_t", ["features.0", "features.1", "features.2", "features.7"], 64, [96, 96, 192]),
        (
            "convnext_tiny",
            ["features.0", "features.1", "features.2", "features.5"],
            32,
            [96, 96, 192],
        ),
    ],
)
def test_a_head_finds_the_channel_axis(name, after, shape, widths):
    backbone = models.get_model(name, num_classes=5).eval()
    network = with_exits(backbone, after, 5, [3, shape, shape]).eval()
    assert [head[-1].in_features for head in network.heads[:-1]] == widths
    check(network, 5, [3, shape, shape])


def test_an_ambiguous_channel_axis_needs_a_head():
    """An image of 12 x 12 becomes 4 x 4 positions of 4 channels."""
    backbone = nn.Sequential()
    backbone.one = nn.Sequential(nn.Conv2d(3, 4, 3, 3), nn.Linear(4, 4))
    backbone.two = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    backbone.fc = nn.Linear(4, 5)
    with pytest.raises(
        InputError, match=r"after one have shape \[4, 4, 4\].* give with_exits a head"
    ):
        with_exits(backbone, ["one", "two"], 5, [3, 12, 12])
    own = with_exits(
        backbone,
        ["one", "two"],
        5,
        [3, 12, 12],
        lambda shape, classes: nn.Sequential(nn.Flatten(), nn.Linear(shape.numel(), classes)),
    )
    assert own.heads[0][1].in_features == 64


def test_channels_of_one_dimension_are_not_taken_for_tokens():
    backbone = nn.Sequential()
    backbone.one = nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 8, 4, 4))
    backbone.two = nn.Sequential(nn.ReLU())
    backbone.three = nn.Sequential(nn.Conv1d(8, 8, 1))
    backbone.fc = nn.Sequential(nn.Flatten(), nn.Linear(8 * 64, 5))
    network = with_exits(backbone, ["one", "two", "three"], 5, SHAPE).eval()
    assert [head[-1].in_features for head in network.heads[:-1]] == [8, 8]
    check(network, 5, SHAPE)


def test_images_that_a_backbone_cannot_take_are_an_error():
    with pytest.raises(InputError, match=r"ResNet cannot take images of shape \[1, 8, 8\] \(Runt"):
        with_exits(narrow(), LAYERS, 5, [1, 8, 8])


def test_a_module_on_both_sides_is_an_error():
    backbone = nn.Sequential()
    backbone.one, backbone.two, backbone.three = nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)
    backbone.four = backbone.one
    # The tracer uses a module's first name.
    with pytest.raises(InputError, match="one is used on both sides of a cut"):
        with_exits(backbone, ["two", "three"], 2, [2])


def test_a_module_without_weights_may_be_on_both_sides():
    backbone = nn.Sequential()
    backbone.one, backbone.act, backbone.two = nn.Linear(2, 2), nn.GELU(), nn.Linear(2, 2)
    backbone.again, backbone.three = backbone.act, nn.Linear(2, 2)
    inputs = torch.rand(3, 2)
    network = with_exits(backbone, ["one", "two"], 2, [2])
    assert torch.equal(network(inputs)[:, -1], backbone(inputs))


def test_training_starts_from_weights_of_a_backbone(tmp_path):
    backbone = narrow()
    torch.save(backbone.state_dict(), tmp_path / "resnet.pt")
    network = with_exits(
        models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5), LAYERS, 5, SHAPE
    )
    assert load_start(network, tmp_path / "resnet.pt") == [0, 1, 2]
    images = torch.rand(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(network.eval()(images)[:, -1], backbone(images))
    # They are no checkpoint of the full network.
    with pytest.raises(InputError, match=r"6 missing \(heads\.0\.2\.bias.*training\.start_from"):
        load_checkpoint(network, tmp_path / "resnet.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(more=torch.zeros(1)), r"1 unknown \(more\)"),
        (lambda s: s.pop("layer1.0.conv1.weight"), r"1 missing \(stages\.0\.layer1\.0\.conv1"),
        (lambda s: s.pop("fc.bias"), r"1 missing \(heads\.3\.fc\.bias\)"),
        (lambda s: s.update({"fc.weight": torch.zeros(1000, 512)}), "1 of another shape"),
    ],
)
def test_a_start_that_does_not_fit_is_an_error(tmp_path, change, message):
    state = narrow().state_dict()
    change(state)
    torch.save(state, tmp_path / "resnet.pt")
    with pytest.raises(InputError, match=rf"resnet\.pt: .*{message}"):
        load_start(wrapped(), tmp_path / "resnet.pt")


def test_a_final_head_may_be_new(tmp_path):
    state = {k: v for k, v in narrow(1000).state_dict().items() if not k.startswith("fc.")}
    torch.save(state, tmp_path / "features.pt")
    assert load_start(wrapped(), tmp_path / "features.pt") == [0, 1, 2, 3]


RECIPE = Recipe(2, 8, 0.05, 0.01, averaging=0.5, freeze_backbone=True)


def data(samples=24):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, *SHAPE), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(samples) % 5, torch.arange(samples))


def changed(network, before):
    """Stages and heads with a changed parameter or batch norm statistic."""
    after = network.state_dict()
    return {key[: key.index(".", 7)] for key in before if not torch.equal(before[key], after[key])}


def test_a_frozen_backbone_does_not_change():
    network = wrapped()
    before = copy.deepcopy(network.state_dict())
    train(network, data(), RECIPE, 0, fresh=[0, 1, 2])
    assert changed(network, before) == {"heads.0", "heads.1", "heads.2"}


def test_a_new_final_head_is_trained_on_a_frozen_backbone():
    network = wrapped()
    before = copy.deepcopy(network.state_dict())
    train(network, data(), RECIPE, 0, fresh=[0, 1, 2, 3])
    assert changed(network, before) == {"heads.0", "heads.1", "heads.2", "heads.3"}


def test_without_freezing_all_is_trained():
    network = wrapped()
    before = copy.deepcopy(network.state_dict())
    train(network, data(), Recipe(2, 8, 0.05, 0.01), 0)
    assert len(changed(network, before)) == 8


def test_a_backbone_cannot_be_trained_and_frozen():
    with pytest.raises(InputError, match=r"training\.freeze_backbone: backbone_epochs changes it"):
        Recipe(2, 8, 0.05, 0.01, backbone_epochs=1, freeze_backbone=True)
    with pytest.raises(InputError, match=r"training\.freeze_backbone: whitening changes it"):
        Recipe(2, 8, 0.05, 0.01, whitening=True, freeze_backbone=True)


def test_exit_weights_of_a_frozen_head_only_are_an_error():
    recipe = replace(RECIPE, exit_weights=(0.0, 0.0, 0.0, 1.0))
    with pytest.raises(InputError, match=r"training\.exit_weights: only the final exit"):
        train(wrapped(), data(), recipe, 0, fresh=[0, 1, 2])


def test_it_runs_under_a_policy():
    network = wrapped()
    policy = Policy(ExitCriterion(), (1.5, 1.5, 1.5))
    run = run_policy(network, policy, data().inputs, 8, Engine())
    logits = network(Engine().prepare(data().inputs))
    assert (run.prediction == logits.argmax(2)[torch.arange(24), run.exit].numpy()).all()
