"""Random small networks and cuts of backbones: handled correctly, or an error in one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from early_exit.datasets.base import Split
from early_exit.errors import InputError
from early_exit.inference.cost import count_macs, macs
from early_exit.inference.engine import Engine
from early_exit.inference.exits import all_exits
from early_exit.inference.runner import run_policy
from early_exit.networks import MultiExitNetwork
from early_exit.networks.backbone import with_exits
from early_exit.networks.build import cut_network
from early_exit.networks.checks import check
from early_exit.networks.gradients import check_gradients
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.training.loop import train
from early_exit.training.recipe import Recipe
from fuzzing import CASES, generator, taken_or_refused

pytestmark = pytest.mark.faults

CLASSES, SHAPE, SAMPLES = 4, [3, 8, 8], 12
# A network takes about 0.1 s; the fuzz tests of files have more cases.
NETWORKS, CUTS = max(1, CASES // 3), max(1, CASES // 4)
# Single samples may differ by rounding.
TOLERANCE = 2e-3


class Do(nn.Module):
    """A function of the features, as a module."""

    def __init__(self, function, *parts):
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, features):
        return self.function(features, *self.parts)


def grow(f):
    """The channels, doubled."""
    return torch.cat([f, f], dim=1)


# Valid layers that keep the shape (N, C, height, width), by number of channels.
KEEP = {
    "relu": lambda c: nn.ReLU(),
    "gelu": lambda c: nn.GELU(),
    "batch norm": nn.BatchNorm2d,
    "group norm": lambda c: nn.GroupNorm(1, c),
    "instance norm": nn.InstanceNorm2d,
    "layer norm": lambda c: Do(
        lambda f, norm: norm(f.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), nn.LayerNorm(c)
    ),
    "dropout": lambda c: nn.Dropout(0.5),
    "dropout of channels": lambda c: nn.Dropout2d(0.5),
    "convolution": lambda c: nn.Conv2d(c, c, 3, padding=1),
    "depthwise": lambda c: nn.Conv2d(c, c, 3, padding=1, groups=c),
    "transposed and back": lambda c: Do(lambda f: f.transpose(2, 3).contiguous().transpose(2, 3)),
    "flipped": lambda c: Do(lambda f: f.flip(3)),
    "doubles and back": lambda c: Do(lambda f: f.double().sigmoid().float() + f),
    "expanded": lambda c: Do(lambda f: f[:, :1].expand(-1, f.shape[1], -1, -1)),
    "sliced": lambda c: Do(lambda f: grow(f)[:, ::2]),
    "attention": lambda c: Do(
        lambda f, one: one(f.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(f.shape),
        nn.TransformerEncoderLayer(c, 1, c, batch_first=True),
    ),
    "recurrent": lambda c: Do(
        lambda f, one: one(f.flatten(2).transpose(1, 2))[0].transpose(1, 2).reshape(f.shape),
        nn.LSTM(c, c, batch_first=True),
    ),
    "weights normed": lambda c: nn.utils.parametrizations.weight_norm(nn.Conv2d(c, c, 1)),
    "in place": lambda c: Do(lambda f, conv: conv(f).relu_(), nn.Conv2d(c, c, 1)),
    "none": lambda c: nn.Identity(),
}
# Valid only at some positions, or in some memory formats.
SOMETIMES = {
    "viewed": lambda c: Do(lambda f: f.view(-1).view(f.shape)),
    "strided": lambda c: Do(lambda f: f.as_strided(f.shape, torch.zeros(f.shape).stride())),
    "relu in place": lambda c: nn.ReLU(inplace=True),
    "added in place": lambda c: Do(lambda f: f.add_(1)),
    "scaled in place": lambda c: Do(lambda f: f.mul_(0.5)),
    "bfloat16 and back": lambda c: Do(lambda f: f.bfloat16().float()),
    "detached": lambda c: Do(lambda f: f.detach()),
}
# Never valid.
WRONG = {
    "tuple": lambda c: Do(lambda f: (f, f)),
    "list": lambda c: Do(lambda f: [f]),
    "dictionary": lambda c: Do(lambda f: {"features": f}),
    "nothing": lambda c: Do(lambda f: None),
    "number": lambda c: Do(lambda f: 3.0),
    "scalar": lambda c: Do(torch.sum),
    "NaN": lambda c: Do(lambda f: f * float("nan")),
    "infinite": lambda c: Do(lambda f: f / 0),
    "random": lambda c: Do(lambda f: f + torch.rand_like(f)),
    "dropped out": lambda c: Do(lambda f: nn.functional.dropout(f + 1, 0.5)),
    "channels": lambda c: nn.Conv2d(c + 1, c, 1),
    "batch statistics": lambda c: nn.BatchNorm2d(c, track_running_stats=False),
    "sum of the batch": lambda c: Do(lambda f: f - f.mean(0, keepdim=True)),
    "neighbours": lambda c: Do(lambda f: f.roll(1, 0)),
    "positions": lambda c: Do(lambda f: f + torch.arange(len(f))[:, None, None, None]),
    "batch last": lambda c: Do(lambda f: f.permute(1, 2, 3, 0)),
    "of two only": lambda c: Do(lambda f: f.reshape(2, c, *f.shape[2:])),
    "raises": lambda c: Do(lambda f: {}["a key\nof two lines"]),
    "raises colours": lambda c: Do(lambda f: explode()),
    "wrong type": lambda c: Do(lambda f: f.double()),
    "whole numbers": lambda c: Do(lambda f: f.long()),
    "complex": lambda c: Do(lambda f: torch.complex(f, f)),
    "sparse": lambda c: Do(lambda f: f.to_sparse()),
    "no sample": lambda c: Do(lambda f: f[:0]),
    "too small": lambda c: nn.Conv2d(c, c, 99),
    "exits": lambda c: Do(lambda f: next(iter(()))),
}
HEADS = {
    "mean": lambda c, n: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, n)),
    "pooled": lambda c, n: nn.Sequential(
        nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(4 * c, n)
    ),
    "lazy": lambda c, n: nn.Sequential(nn.Flatten(), nn.LazyLinear(n)),
    "viewed": lambda c, n: nn.Sequential(
        nn.AdaptiveAvgPool2d(2), Do(lambda f: f.view(f.size(0), -1)), nn.Linear(4 * c, n)
    ),
    "normed": lambda c, n: nn.Sequential(
        nn.BatchNorm2d(c), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, n)
    ),
    "log softmax": lambda c, n: nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, n), nn.LogSoftmax(dim=1)
    ),
    "not contiguous": lambda c, n: Do(
        lambda f, one: one(f.mean((2, 3))).t().contiguous().t(), nn.Linear(c, n)
    ),
}
PROBABILITIES = {
    "softmax": lambda c, n: nn.Sequential(HEADS["mean"](c, n), nn.Softmax(dim=1)),
    "even": lambda c, n: Do(lambda f, one: one(f) * 0 + 1 / n, HEADS["mean"](c, n)),
}


def explode():
    try:
        raise ValueError("\x1b[31mred\nand \x07 bell")
    except ValueError as error:
        raise RuntimeError("step 3/3") from error


def pick(random, among):
    return among[sorted(among)[random.integers(len(among))]]


def drawn(random):
    """A network, whether it has a fault, and how many heads return probabilities."""
    network = MultiExitNetwork()
    count, channels = int(random.integers(2, 5)), int(random.choice([2, 3, 4]))
    before, stages, heads, probable = SHAPE[0], [], [], []
    for _ in range(count):
        layers = [nn.Conv2d(before, channels, 3, padding=1)]
        layers += [pick(random, KEEP)(channels) for _ in range(random.integers(3))]
        if random.random() < 0.15:
            index = random.integers(len(layers) + 1)
            width = before if index == 0 else channels
            layers.insert(index, pick(random, SOMETIMES)(width))
        stages.append(nn.Sequential(*layers))
        probable.append(random.random() < 0.1)
        head = pick(random, PROBABILITIES if probable[-1] else HEADS)(channels, CLASSES)
        if random.random() < 0.1:
            head = nn.Sequential(pick(random, SOMETIMES)(channels), head)
        heads.append(head)
        before = channels
    wrong = random.random() < 0.4
    if wrong:
        k = random.integers(count)
        bad = pick(random, WRONG)(channels)
        if random.random() < 0.5:
            stages[k] = nn.Sequential(stages[k], bad)
        else:
            heads[k] = nn.Sequential(bad, heads[k])
    network.stages, network.heads = nn.ModuleList(stages), nn.ModuleList(heads)
    return network, wrong, sum(probable)


@pytest.fixture(scope="module", autouse=True)
def warm():
    """Import what PyTorch needs for counting, outside of the cases' time."""
    macs(nn.Linear(2, 2), torch.rand(1, 2))


def used(network, random):
    """Run a network in all ways of the workflow, which must agree in the logits."""
    images = torch.from_numpy(random.integers(0, 256, (SAMPLES, *SHAPE)).astype(np.uint8))
    engine = Engine(memory_format=str(random.choice(["channels_last", "contiguous"])))
    reference = torch.from_numpy(all_exits(network, images, 5, Engine()))
    single = torch.from_numpy(all_exits(network, images, 1, engine))
    scale = max(1.0, float(reference.abs().max()))
    assert torch.allclose(single, reference, atol=TOLERANCE * scale)
    entropies = torch.distributions.Categorical(logits=reference).entropy()
    thresholds = tuple(float(one) for one in entropies.median(dim=0).values[:-1])
    policy = Policy(ExitCriterion(), thresholds)
    for regroup in (None, 4):
        run = run_policy(network, policy, images, 5, engine, regroup)
        rows = torch.arange(SAMPLES)
        logits = reference[rows, run.exit].sort(dim=1).values
        clear = (logits[:, -1] - logits[:, -2] > 2 * TOLERANCE * scale).numpy()
        agreed = run.prediction == reference.argmax(2)[rows, run.exit].numpy()
        assert (agreed | ~clear).all()
    doubts = []
    costs = count_macs(engine.ready(network), engine.prepare(images[:1]), doubts.append)
    assert all(costs["stage", k + 1] > 0 for k in range(len(network.stages)))
    cut_network(network, len(network.heads))(engine.prepare(images))
    return images


def trained(network, images):
    data = Split(images, torch.arange(SAMPLES) % CLASSES, torch.arange(SAMPLES))
    train(network, data, Recipe(1, 6, 0.001, 0.01), 0)


@pytest.mark.filterwarnings("ignore")
def test_networks_are_handled_correctly_or_an_error(tally):
    taken = refused = 0
    for case in range(NETWORKS):
        warnings = []
        random = generator("networks", case)
        torch.manual_seed(case)
        network, wrong, probable = drawn(random)
        _, message = taken_or_refused(check, network, CLASSES, SHAPE, warnings.append)
        if message is not None:
            assert message.split()[0] in ("stage", "head", "cannot"), message
            refused += 1
            continue
        # A fault may be harmless, as noise before an instance norm of a single position.
        taken += 1
        assert len(warnings) == probable or wrong, (case, warnings)
        assert all("returns probabilities" in line and line.isprintable() for line in warnings)
        images, message = taken_or_refused(used, network, random)
        assert message is None, (case, message)
        _, message = taken_or_refused(trained, network, images)
        # Refused before training, not by an error in it.
        assert message is None or not message.startswith("training: the loss"), (case, message)
    assert taken > NETWORKS / 5
    assert refused > NETWORKS / 5
    tally["fuzzed networks"] += NETWORKS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", sorted(WRONG))
def test_faults_are_an_error(what):
    """Every fault, in the first and the last stage and head."""
    for kind in ("stages", "heads"):
        for k in (0, 1):
            network = MultiExitNetwork()
            network.stages = nn.ModuleList([nn.Conv2d(3, 3, 3, padding=1) for _ in range(2)])
            network.heads = nn.ModuleList([HEADS["mean"](3, CLASSES) for _ in range(2)])
            parts = getattr(network, kind)
            bad = WRONG[what](3)
            parts[k] = (
                nn.Sequential(parts[k], bad) if kind == "stages" else nn.Sequential(bad, parts[k])
            )
            _, message = taken_or_refused(check, network, CLASSES, SHAPE)
            assert message is not None, (what, kind, k)


class Random(nn.Module):
    """Named layers, run in order, some of them twice, as functions, or in parallel."""

    def __init__(self, random):
        super().__init__()
        self.count, self.names, width = int(random.integers(3, 7)), [], SHAPE[0]
        for k in range(self.count):
            channels = int(random.choice([3, 4]))
            layers = [nn.Conv2d(width, channels, 3, padding=1), pick(random, KEEP)(channels)]
            if random.random() < 0.2:
                layers.append(pick(random, SOMETIMES)(channels))
            self.add_module(f"layer{k}", nn.Sequential(*layers))
            width = channels
        self.how = [str(random.choice(HOW)) for _ in range(self.count)]
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x, mask=None, *, scale=1.5, **named):
        past = None
        for k, how in enumerate(self.how):
            x = self.get_submodule(f"layer{k}")(x)
            if how == "relu":
                x = x.relu()
            elif how == "in place":
                x.mul_(scale)
            elif how == "functional":
                nn.functional.relu(x, inplace=True)
            elif how == "masked" and mask is None:
                x = x * 2
            elif how == "keep":
                past = x
            elif how == "past" and past is not None:
                x = x + past.mean((1, 2, 3), keepdim=True)
            elif how == "branch" and x.sum() > 0:
                x = -x
        return self.fc(x.mean((2, 3)))


HOW = ["relu", "in place", "functional", "masked", "keep", "past", "branch"] + ["none"] * 12


@pytest.mark.filterwarnings("ignore")
def test_backbones_are_cut_correctly_or_an_error(tally):
    taken = 0
    for case in range(CUTS):
        random = generator("networks, cut", case)
        torch.manual_seed(case)
        backbone = Random(random).eval()
        numbers = sorted(random.choice(backbone.count, int(random.integers(2, 4)), replace=False))
        after = [f"layer{number}" for number in numbers]
        if random.random() < 0.1:
            after[0] = str(random.choice(["layer99", "fc", "layer0.0", ""]))
        images = torch.rand(3, *SHAPE)
        try:
            with torch.no_grad():
                expected = backbone(images.clone())
        except RuntimeError:
            expected = None
        network, message = taken_or_refused(with_exits, backbone, after, CLASSES, SHAPE)
        if message is not None:
            assert message.startswith("with_exits: "), message
            continue
        taken += 1
        assert expected is not None
        with torch.no_grad():
            found = network.eval()(images.clone())[:, -1]
            assert torch.equal(found.nan_to_num(), expected.nan_to_num()), case
        try:
            check(network, CLASSES, SHAPE)
            check_gradients(network, (1.0,) * len(after), SHAPE)
        except InputError as error:
            assert str(error).isprintable()
    assert taken > CUTS / 4
    tally["fuzzed networks"] += CUTS
