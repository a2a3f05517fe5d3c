"""The API's runner predicts what the network predicts; its exits are numbered from 1."""

import numpy as np
import pytest
import torch

import early_exit as ee
from early_exit.networks import MultiExitNetwork
from early_exit.networks.custom import adopt
from early_exit.structures.inputs import InputSpec
from early_exit.structures.tree import map_tensors
from helpers import SmallNetwork, random_images
from structured import NETWORKS, samples_of


def policy(thresholds):
    own = {"measure": "entropy", "exit_rule": "below", "thresholds": thresholds}
    return ee.Policy.from_json(own)


@torch.inference_mode()
def test_it_agrees_with_simulation_from_logits():
    images, network = random_images(80), SmallNetwork().eval()
    logits = network(images.float() / 255)
    labels = np.arange(80) % 4
    run = ee.from_logits(logits.numpy(), labels, macs=[1e6, 2e6, 3e6])
    chosen = run.make_policy(run.records().filter(like="entropy").median().tolist()[:2])
    found = ee.EarlyExitRunner(network, chosen)(images)
    shares = np.bincount(found.exit.numpy(), minlength=4)[1:] / 80
    assert shares.tolist() == pytest.approx(run.simulate(chosen).exit_shares.tolist())
    assert 0 < shares[0] < 1
    taken = logits[torch.arange(80), found.exit - 1]
    assert found.prediction.tolist() == taken.argmax(dim=1).tolist()
    assert (found.uncertainty[found.exit == 1] < chosen.thresholds[0]).all()


def test_images_may_be_arrays_uint8_or_floats():
    images, runner = random_images(9), ee.EarlyExitRunner(SmallNetwork(), policy([0.9, "never"]))
    expected = runner(images)
    for same in (images.numpy(), images.float() / 255, (images.float() / 255).numpy()):
        found = runner(same)
        assert torch.equal(found.prediction, expected.prediction)
        assert torch.equal(found.exit, expected.exit)
    assert "exit where" in repr(runner) or "Policy" in repr(runner)


@pytest.mark.parametrize("name", ["masked transformer", "named tuples", "cascade"])
def test_inputs_and_features_may_be_structures(name):
    maker, kind = NETWORKS[name]
    inputs, _ = samples_of(kind, 30)
    shapes = InputSpec.of_samples(inputs).shapes
    network = adopt(maker(5, shapes), MultiExitNetwork)
    found = ee.EarlyExitRunner(network, policy([1.5, 1.55]))(inputs)
    arrays = map_tensors(lambda one: one.numpy(), inputs)
    again = ee.EarlyExitRunner(network, policy([1.5, 1.55]))(arrays)
    assert torch.equal(found.prediction, again.prediction)
    logits = network(inputs)
    taken = logits[torch.arange(30), found.exit - 1]
    assert found.prediction.tolist() == taken.argmax(dim=1).tolist()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: ee.EarlyExitRunner(SmallNetwork(), policy([1.0])), "made for 2 exits"),
        (lambda: ee.EarlyExitRunner(torch.nn.Linear(2, 2), policy([1.0])), "no stages and heads"),
        (lambda: runner(device="tpu"), "cpu or cuda"),
        (lambda: runner(precision="fp8"), "fp32 or bf16"),
        (lambda: runner()(torch.zeros(3, 2, 2)), r"cannot take float32 \(3, 2, 2\)"),
        (lambda: runner()(torch.zeros(1, 3, 2, 2, dtype=torch.int64)), r"cannot take int64"),
        (lambda: runner()(["cat.jpg"]), "not arrays of numbers"),
        (lambda: runner()({"a": torch.zeros(3), "b": torch.zeros(2)}), r"shapes \(3,\), \(2,\)"),
        (lambda: runner()(1.0), r"shapes \(\); the first axis"),
    ],
)
def test_bad_arguments(ask, message):
    with pytest.raises(ee.InputError, match=message):
        ask()


def runner(**settings):
    return ee.EarlyExitRunner(SmallNetwork(), policy([1.0, 1.0]), **settings)
