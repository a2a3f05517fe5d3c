"""Tests of networks whose inputs or features are structures: run, simulate, price, export."""

import numpy as np
import pytest
import torch

from early_exit.datasets.base import Split
from early_exit.errors import InputError
from early_exit.inference.cost import measure_costs
from early_exit.inference.engine import Engine
from early_exit.inference.exits import all_outputs
from early_exit.inference.regrouping import Queue
from early_exit.inference.runner import EarlyExitRunner, run_policy
from early_exit.inference.timing import time_policy
from early_exit.networks.base import MultiExitNetwork
from early_exit.networks.checks import check
from early_exit.networks.custom import adopt
from early_exit.networks.shared import shared_leaves
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.records.table import from_logits
from early_exit.structures.inputs import InputSpec
from early_exit.structures.tree import map_tensors, rows
from early_exit.training.loop import train
from early_exit.training.recipe import Recipe
from structured import CLASSES, NETWORKS, classes_of, samples_of

SAMPLES = 300
RECIPE = Recipe(epochs=8, batch_size=50, learning_rate=0.02, weight_decay=0.0)


def spec_of(kind, inputs):
    return InputSpec.of(inputs.shape[1:]) if kind == "images" else InputSpec.of_samples(inputs)


@pytest.fixture(scope="module")
def trained():
    """Networks by name, each trained above chance: inputs, network, engine."""
    found = {}

    def of(name):
        if name not in found:
            maker, kind = NETWORKS[name]
            inputs, labels = samples_of(kind, SAMPLES)
            spec = spec_of(kind, inputs)
            torch.manual_seed(0)
            network = adopt(maker(classes_of(kind), spec.shapes), MultiExitNetwork)
            check(network, classes_of(kind), spec)
            data = Split(inputs, labels, torch.arange(SAMPLES))
            log = train(network, data, RECIPE, 0, images=kind == "images")
            assert log.accuracy_3.iloc[-1] > 1.5 / classes_of(kind)
            found[name] = inputs, labels, network, Engine(images=kind == "images"), spec
        return found[name]

    return of


@pytest.mark.parametrize("regroup", [None, 16])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_equals_the_simulation_of_each_sample(trained, name, regroup):
    inputs, labels, network, engine, _ = trained(name)
    logits, _ = all_outputs(network, inputs, 64, engine)
    records = from_logits(np.arange(SAMPLES), labels.numpy(), logits, {})
    criterion = ExitCriterion("margin")
    unsure = criterion.uncertainty(records)
    thresholds = tuple(float(np.quantile(unsure[:, k], 0.4)) for k in range(2))
    policy = Policy(criterion, thresholds)
    run = run_policy(network, policy, inputs, 50, engine, regroup)
    taken = policy.exits_taken(unsure)
    assert set(taken) == {0, 1, 2}
    np.testing.assert_array_equal(run.exit, taken)
    own = logits.argmax(axis=2)[np.arange(SAMPLES), taken]
    np.testing.assert_array_equal(run.prediction, own)
    np.testing.assert_allclose(run.uncertainty, unsure[np.arange(SAMPLES), taken], atol=1e-5)


@pytest.mark.parametrize("name", ["masked transformer", "cascade"])
def test_a_sample_alone_exits_as_in_a_batch(trained, name):
    inputs, _, network, engine, _ = trained(name)
    policy = Policy(ExitCriterion("entropy"), (0.8, 0.8))
    together = run_policy(network, policy, inputs, 64, engine)
    alone = run_policy(network, policy, rows(inputs, slice(0, 20)), 1, engine)
    np.testing.assert_array_equal(together.exit[:20], alone.exit)
    np.testing.assert_array_equal(together.prediction[:20], alone.prediction)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_part_has_a_price(trained, name):
    inputs, _, network, engine, spec = trained(name)
    costs = measure_costs(network, spec, [1, 4], 3, ["margin"], engine)
    assert len(costs) == 2 * 3 * 3
    priced = costs[(costs.part != "overhead") & (costs.batch_size == 1)]
    # An embedding multiplies nothing.
    free = (name == "masked transformer") & (priced.part == "stage") & (priced.exit == 1)
    # An earlier head counts with its stage.
    needed = {"cascade": 2, "some of both": 1}.get(name, 0)
    free |= (priced.part == "head") & (priced.exit <= needed)
    assert (priced.macs[~free] > 0).all()
    assert (priced.macs[free] == 0).all()
    policy = Policy(ExitCriterion("entropy"), (0.8, 0.8))
    times = time_policy(network, policy, inputs, 32, 2, engine)
    assert times.rounds.min() > 0


def test_a_table_that_is_as_long_as_the_batch_is_not_thinned(trained):
    """The transformer's table of positions has 8 rows; a batch of 8 must not lose any of them."""
    inputs, _, network, engine, _ = trained("masked transformer")
    assert shared_leaves(network, rows(inputs, slice(0, 8))) == ({2}, {2}, {2})
    policy = Policy(ExitCriterion("entropy"), (0.8, 0.8))
    eight = run_policy(network, policy, inputs, 8, engine)
    other = run_policy(network, policy, inputs, 50, engine)
    np.testing.assert_array_equal(eight.exit, other.exit)
    np.testing.assert_array_equal(eight.prediction, other.prediction)


def test_heads_that_a_cascade_needs_run_even_where_no_sample_may_exit(trained):
    inputs, labels, network, engine, _ = trained("cascade")
    off = Policy(ExitCriterion("entropy"), (float("-inf"), 0.8))
    runner = EarlyExitRunner(network, off, engine)
    assert runner.runs == [True, True, True]
    logits, _ = all_outputs(network, inputs, 64, engine)
    records = from_logits(np.arange(SAMPLES), labels.numpy(), logits, {})
    run = run_policy(network, off, inputs, 50, engine, 16)
    np.testing.assert_array_equal(run.exit, off.exits_taken(off.criterion.uncertainty(records)))
    assert set(run.exit) == {1, 2}


def test_a_learned_confidence_is_recorded_and_learned(trained):
    inputs, labels, network, engine, _ = trained("confidence")
    logits, confidence = all_outputs(network, inputs, 64, engine)
    assert confidence.shape == (SAMPLES, 3)
    right = logits.argmax(axis=2) == labels.numpy()[:, None]
    for k in range(3):
        assert confidence[right[:, k], k].mean() > confidence[~right[:, k], k].mean()


def test_one_logit_is_that_of_the_second_class(trained):
    inputs, _, network, engine, _ = trained("one logit")
    logits, _ = all_outputs(network, inputs, 64, engine)
    assert logits.shape == (SAMPLES, 3, 2)
    assert (logits[:, :, 0] == 0).all()
    with torch.inference_mode():
        own = network.heads[0](network.stages[0](inputs)).flatten().numpy()
    np.testing.assert_allclose(logits[:, 0, 1], own, rtol=1e-5, atol=1e-6)


def test_settings_of_images_are_refused_by_name():
    inputs, labels = samples_of("rows", 40)
    network = adopt(NETWORKS["rows"][0](CLASSES, [7]), MultiExitNetwork)
    recipe = Recipe(1, 20, 0.01, 0.0, augmentation="flip_translate")
    data = Split(inputs, labels, torch.arange(40))
    with pytest.raises(InputError, match=r"training\.augmentation: flip_translate is for images"):
        train(network, data, recipe, 0, images=False)


def test_a_stage_whose_tensors_fold_the_batch_is_refused():
    class Folded(torch.nn.Module):
        def forward(self, row):
            return {"row": row, "twice": row.repeat(2, 1)}

    network = adopt(NETWORKS["rows"][0](CLASSES, [7]), MultiExitNetwork)
    network.stages[0] = torch.nn.Sequential(torch.nn.Linear(7, 16), Folded())
    network.stages[1] = torch.nn.Sequential(Of("row"), torch.nn.Linear(16, 16))
    network.heads[0] = torch.nn.Sequential(Of("row"), torch.nn.Linear(16, CLASSES))
    spec = InputSpec.of_samples(samples_of("rows", 4)[0])
    with pytest.raises(
        InputError, match=r"stage 1: returns tensors of shapes \(4, 16\) and \(2, 1"
    ):
        check(network, CLASSES, spec)


class Of(torch.nn.Module):
    """One of the tensors of a dictionary."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, features):
        return features[self.name]


def test_held_samples_come_back_with_what_all_share():
    queue = Queue(2, shared={1})
    table = torch.arange(3.0)
    features = (torch.arange(8.0).view(4, 2), table, {"number": 7, "mask": torch.eye(4).bool()})
    queue.add(features, torch.tensor([1, 3]), torch.tensor([10, 30]))
    (rows_, shared, rest), indices = queue.take()
    assert rows_.tolist() == [[2, 3], [6, 7]]
    assert shared is table
    assert rest["number"] == 7
    assert rest["mask"].tolist() == torch.eye(4).bool()[[1, 3]].tolist()
    assert indices.tolist() == [10, 30]


def test_features_of_other_lengths_cannot_be_batched_again():
    queue = Queue(2)
    queue.add(torch.zeros(2, 4), torch.tensor([0]), torch.tensor([0]))
    with pytest.raises(InputError, match=r"shape \(5,\) after \(4,\).*inference\.regroup to false"):
        queue.add(torch.zeros(2, 5), torch.tensor([0]), torch.tensor([1]))


def test_bf16_reaches_the_numbers_alone():
    inputs, _ = samples_of("tokens", 4)
    prepared = Engine(precision="bf16", images=False).prepare({"x": torch.ones(2), **inputs})
    kinds = map_tensors(lambda one: one.dtype, prepared)
    assert kinds == {"x": torch.bfloat16, "tokens": torch.int64, "mask": torch.bool}
