"""A backbone with exits put into it: equal to the backbone, to the last bit."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn
from torchvision import models

from early_exit import networks
from early_exit.datasets import Split
from early_exit.engine import Engine
from early_exit.errors import InputError
from early_exit.inference import run_policy
from early_exit.networks.backbone import with_exits
from early_exit.networks.checks import check, check_gradients
from early_exit.policy import ExitRule, Policy
from early_exit.training import Recipe, train

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
def test_the_last_exit_is_the_backbone(name, after):
    torch.manual_seed(0)
    backbone = models.get_model(name, num_classes=5).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before = backbone(images)
        network = with_exits(backbone, after, 5, [3, 32, 32]).eval()
        found = network(images)
        # What follows an exit leaves its features as they are.
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
    # Every weight of the backbone has a place.
    assert set(network.names) == set(backbone.state_dict())


def test_tokens_are_averaged():
    vit = models.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=5).eval()
    after = ["encoder.layers.encoder_layer_0", "encoder.ln"]
    images = torch.rand(2, 3, 32, 32)
    network = with_exits(vit, after, 5, [3, 32, 32]).eval()
    with torch.no_grad():
        assert torch.equal(network(images)[:, -1], vit(images))


def test_a_head_of_ones_own():
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
        (["layer1"], "must name 2 modules at least"),
        (["layer1", "layer22"], r"layer22 is no module that runs by itself; did you mean layer2\?"),
        (["layer1", "xyz"], "known: conv1, bn1"),
        (["layer1", "layer1.0"], "layer1 is no module that runs by itself"),
        (["layer2", "layer1"], "layer1 runs before layer2"),
        (["layer1", "fc"], "nothing comes after fc"),
        (["layer1.0.conv1", "layer4"], "takes maxpool past the exit after layer1.0.conv1"),
    ],
)
def test_a_cut_that_cannot_be_is_named(after, message):
    with pytest.raises(InputError, match=f"with_exits: .*{message}"):
        with_exits(narrow(), after, 5, SHAPE)


class Twisted(nn.Module):
    """What torch.fx cannot follow, or what cannot be cut."""

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
        ("branch", "Twisted cannot be followed by torch.fx"),
        ("two", "gives more than one tensor"),
    ],
)
def test_a_backbone_that_cannot_be_cut_is_named(how, message):
    with pytest.raises(InputError, match=message):
        with_exits(Twisted(how), ["a", "b"], 2, [2])


def test_a_module_on_both_sides_is_named():
    backbone = nn.Sequential()
    backbone.one, backbone.two, backbone.three = nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)
    backbone.four = backbone.one
    # The tracer knows a module by its first name.
    with pytest.raises(InputError, match="one is used on both sides of a cut"):
        with_exits(backbone, ["two", "three"], 2, [2])


def test_weights_of_the_backbone_alone_are_a_start(tmp_path):
    backbone = narrow()
    torch.save(backbone.state_dict(), tmp_path / "resnet.pt")
    network = with_exits(
        models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5), LAYERS, 5, SHAPE
    )
    assert networks.load_start(network, tmp_path / "resnet.pt") == [0, 1, 2]
    images = torch.rand(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(network.eval()(images)[:, -1], backbone(images))
    # As a checkpoint of the whole network they will not do.
    with pytest.raises(InputError, match=r"6 missing \(heads\.0\.2\.bias.*training\.start_from"):
        networks.load_checkpoint(network, tmp_path / "resnet.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(more=torch.zeros(1)), r"1 unknown \(more\)"),
        (lambda s: s.pop("layer1.0.conv1.weight"), r"1 missing \(stages\.0\.layer1\.0\.conv1"),
        (lambda s: s.pop("fc.bias"), r"1 missing \(heads\.3\.fc\.bias\)"),
        (lambda s: s.update({"fc.weight": torch.zeros(1000, 512)}), "1 of another shape"),
    ],
)
def test_a_start_that_does_not_fit_is_named(tmp_path, change, message):
    state = narrow().state_dict()
    change(state)
    torch.save(state, tmp_path / "resnet.pt")
    with pytest.raises(InputError, match=rf"resnet\.pt: .*{message}"):
        networks.load_start(wrapped(), tmp_path / "resnet.pt")


def test_a_last_head_may_start_afresh(tmp_path):
    state = {k: v for k, v in narrow(1000).state_dict().items() if not k.startswith("fc.")}
    torch.save(state, tmp_path / "features.pt")
    assert networks.load_start(wrapped(), tmp_path / "features.pt") == [0, 1, 2, 3]


RECIPE = Recipe(2, 8, 0.05, 0.01, averaging=0.5, freeze_backbone=True)


def data(samples=24):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, *SHAPE), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(samples) % 5, torch.arange(samples))


def changed(network, before):
    """The stages and heads in which anything changed, statistics of batch norm too."""
    after = network.state_dict()
    return {key[: key.index(".", 7)] for key in before if not torch.equal(before[key], after[key])}


def test_a_frozen_backbone_stays_as_it_is():
    network = wrapped()
    before = copy.deepcopy(network.state_dict())
    train(network, data(), RECIPE, 0, fresh=[0, 1, 2])
    assert changed(network, before) == {"heads.0", "heads.1", "heads.2"}


def test_a_last_head_that_starts_afresh_is_trained_on_a_frozen_backbone():
    network = wrapped()
    before = copy.deepcopy(network.state_dict())
    train(network, data(), RECIPE, 0, fresh=[0, 1, 2, 3])
    assert changed(network, before) == {"heads.0", "heads.1", "heads.2", "heads.3"}


def test_without_freezing_all_is_trained():
    network = wrapped()
    before = copy.deepcopy(network.state_dict())
    train(network, data(), Recipe(2, 8, 0.05, 0.01), 0)
    assert len(changed(network, before)) == 8


def test_a_backbone_cannot_be_trained_and_kept():
    with pytest.raises(InputError, match=r"training\.freeze_backbone: backbone_epochs changes it"):
        Recipe(2, 8, 0.05, 0.01, backbone_epochs=1, freeze_backbone=True)
    with pytest.raises(InputError, match=r"training\.freeze_backbone: whitening changes it"):
        Recipe(2, 8, 0.05, 0.01, whitening=True, freeze_backbone=True)


def test_a_frozen_backbone_whose_head_alone_has_weight_is_refused():
    recipe = replace(RECIPE, exit_weights=(0.0, 0.0, 0.0, 1.0))
    with pytest.raises(InputError, match=r"training\.exit_weights: only the final exit"):
        train(wrapped(), data(), recipe, 0, fresh=[0, 1, 2])


def test_it_runs_under_a_policy():
    network = wrapped()
    policy = Policy("entropy", ExitRule.BELOW, (1.5, 1.5, 1.5))
    run = run_policy(network, policy, data().images, 8, Engine())
    logits = network(Engine().pictures(data().images))
    assert (run.prediction == logits.argmax(2)[torch.arange(24), run.exit].numpy()).all()
