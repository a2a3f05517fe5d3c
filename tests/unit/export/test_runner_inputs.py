"""Edge cases for the runner and for the exported runner."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_graphs import exported, runner_module
from torch import nn

from early_exit.errors import InputError
from early_exit.inference.engine import REFERENCE, Engine
from early_exit.inference.exits import all_exits
from early_exit.inference.runner import EarlyExitRunner, run_policy
from early_exit.io.files import sha256, write_json
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.outcomes import Outcomes
from early_exit.policy.policy import Policy
from early_exit.records.table import from_logits
from helpers import PROVENANCE, SmallNetwork, random_images

BELOW, ABOVE = ExitRule.BELOW, ExitRule.ABOVE
INF = np.inf
MIXED = Policy(ExitCriterion(), (0.6, 0.05))
# Name: policy, images, batch size, regrouping.
INPUTS = {
    "one image": (MIXED, 1, 1, None),
    "one image, waiting": (MIXED, 1, 1, 1),
    "batches of one": (MIXED, 40, 1, 4),
    "a batch larger than all": (MIXED, 5, 1000, 64),
    "one too many": (MIXED, 33, 32, 32),
    "one too few": (MIXED, 31, 32, 32),
    "waiting longer than there are images": (MIXED, 40, 7, 10_000),
    "waiting for one": (MIXED, 40, 7, 1),
    "all at the first exit": (Policy(ExitCriterion(), (INF, INF)), 40, 8, 4),
    "all at the last": (Policy(ExitCriterion("margin"), (-INF, -INF)), 40, 8, 4),
    "all at the last, heads running": (
        Policy(ExitCriterion("margin"), (-1.0, 0.0)),
        40,
        8,
        4,
    ),
    "all at the second": (Policy(ExitCriterion(), (-INF, INF)), 40, 8, 4),
    "all above": (Policy(ExitCriterion("entropy", ABOVE), (-INF, 0.0)), 40, 8, 4),
    "some above": (Policy(ExitCriterion("entropy", ABOVE), (0.3, 0.01)), 40, 7, 4),
    "none above": (Policy(ExitCriterion("max_probability", ABOVE), (1.0, INF)), 40, 8, 4),
    "a threshold beyond single precision": (
        Policy(ExitCriterion(), (1e300, 0.1)),
        9,
        4,
        2,
    ),
    "one below it": (Policy(ExitCriterion(), (-1e300, 1e-300)), 9, 4, 2),
    "cold": (Policy(ExitCriterion("entropy", BELOW, (1e-3, 1e-3, 1.0)), (1e-9, 1e-9)), 40, 8, 4),
    "hot": (Policy(ExitCriterion("entropy", BELOW, (1e6, 50.0, 1.0)), (1.38, 1.38)), 40, 8, 4),
    "hot and above": (
        Policy(ExitCriterion("margin", ABOVE, (30.0, 60.0, 1.0)), (0.9, 0.9)),
        41,
        8,
        3,
    ),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small") / "export"
    return exported(SmallNetwork().eval(), MIXED, folder)


def with_policy(folder: Path, policy: Policy):
    """The exported runner, under another policy."""
    write_json(folder / "policy.json", {"policy": policy.to_json(), "identity": PROVENANCE})
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["checksum"]
    manifest["files"]["policy.json"] = sha256(folder / "policy.json")
    write_json(folder / "manifest.json", manifest)
    return runner_module(folder / "runner.py").EarlyExitRunner(folder)


def simulated(network, policy: Policy, images: torch.Tensor) -> Outcomes:
    """What every exit's logits say, without a runner."""
    logits = all_exits(network, images, max(1, len(images)), REFERENCE)
    label = np.arange(len(images)) % logits.shape[2]
    records = from_logits(np.arange(len(images)), label, logits, {}, whole=False)
    seen = policy.criterion.uncertainty(records)
    taken, rows = policy.exits_taken(seen), np.arange(len(images))
    return Outcomes(records.prediction[rows, taken], taken, seen[rows, taken])


def assert_alike(found: Outcomes, expected: Outcomes) -> None:
    np.testing.assert_array_equal(found.exit, expected.exit)
    np.testing.assert_array_equal(found.prediction, expected.prediction)
    np.testing.assert_allclose(found.uncertainty, expected.uncertainty, atol=3e-6)


@pytest.mark.parametrize("name", INPUTS)
def test_both_runners_do_as_simulated(name, small):
    policy, samples, batch_size, regroup = INPUTS[name]
    network, images = SmallNetwork().eval(), random_images(samples, seed=5)
    expected = simulated(network, policy, images)
    assert_alike(run_policy(network, policy, images, batch_size, REFERENCE, regroup), expected)
    own = with_policy(small, policy).run(images.numpy(), batch_size)
    assert_alike(Outcomes(*own), expected)


@pytest.mark.parametrize("exits", [1, 2])
@pytest.mark.parametrize("regroup", [None, 4])
def test_few_exits(exits, regroup):
    network, images = SmallNetwork(exits).eval(), random_images(30)
    policy = Policy(ExitCriterion(), (0.4,) * (exits - 1))
    run = run_policy(network, policy, images, 7, REFERENCE, regroup)
    assert_alike(run, simulated(network, policy, images))
    assert set(run.exit) == set(range(exits))


def test_copies_of_an_image_exit_together():
    network, images = SmallNetwork().eval(), random_images(1).expand(50, 3, 2, 2)
    run = run_policy(network, MIXED, images, 7, REFERENCE, 4)
    assert len(set(run.exit)) == len(set(run.prediction)) == 1


@pytest.mark.parametrize("rule", ExitRule)
@pytest.mark.parametrize("regroup", [None, 3])
def test_a_sample_at_the_threshold_does_not_exit(rule, regroup, small):
    """One step nearer it exits: thresholds are in double precision."""
    network, images = SmallNetwork().eval(), random_images(40)
    first = EarlyExitRunner(network, Policy(ExitCriterion(), (INF, INF)), REFERENCE)
    unsure = first(REFERENCE.prepare(images))[2].numpy()
    place = int(np.argsort(unsure)[20])
    tied = float(unsure[place])
    nearer = tied + rule.sign * 1e-12
    assert np.float32(nearer) == np.float32(tied)
    for threshold, exits in ((tied, False), (nearer, True)):
        policy = Policy(ExitCriterion("entropy", rule), (threshold, rule.never))
        # All in one batch, in which the uncertainty is that very number.
        run = run_policy(network, policy, images, 40, REFERENCE, regroup)
        assert (run.exit[place] == 0) == exits
        exported_runner = with_policy(small, policy)
        given = np.float32([tied])
        assert exported_runner._exiting(given, 0).tolist() == [exits]


@pytest.mark.parametrize("rule", ExitRule)
def test_a_threshold_in_single_precision_separates_the_same_samples(rule):
    rng = np.random.default_rng(0)
    thresholds = [0.0, 0.1, 0.7, 1.0, -0.0, 1e-46, 1e39, -1e39, INF, -INF, *rng.random(200)]
    for threshold in thresholds:
        with np.errstate(over="ignore"):
            near = np.float32(threshold)
        samples = [np.nextafter(near, np.float32(way)) for way in (-INF, INF)]
        unsure = np.float32([near, *samples])
        unsure = unsure[np.isfinite(unsure)]
        single = rule.in_single(threshold)
        assert single == np.float32(single)
        found = rule.met(torch.from_numpy(unsure), single).tolist()
        assert found == rule.met(unsure.astype(np.float64), threshold).tolist(), threshold


class Constant(nn.Module):
    """Logits that are the same for all samples."""

    def __init__(self, logits) -> None:
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits))

    def forward(self, features):
        return self.logits.expand(len(features), -1)


def constant(*heads) -> SmallNetwork:
    network = SmallNetwork().eval()
    for k, logits in enumerate(heads):
        if logits is not None:
            network.heads[k] = Constant(logits)
    return network


@pytest.mark.parametrize("measure", ["entropy", "max_probability", "margin"])
def test_equal_probabilities_give_the_largest_uncertainty(measure):
    network = constant([2.0] * 4)
    largest = {"entropy": np.log(4), "max_probability": 0.75, "margin": 1.0}[measure]
    for threshold, exit in ((largest - 1e-6, 2), (largest + 1e-6, 0)):
        policy = Policy(ExitCriterion(measure, BELOW), (threshold, -INF))
        assert set(run_policy(network, policy, random_images(9), 4, REFERENCE).exit) == {exit}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_end_a_run(precision, value):
    broken = [0.0, value, 0.0, 0.0]
    engine = Engine("cpu", precision)
    # At an exit where no sample exits, they do no harm.
    run = run_policy(constant(broken), MIXED, random_images(9), 4, engine, 2)
    assert (run.exit > 0).all()
    remedy = {"fp32": "use another checkpoint", "bf16": "set inference.precision to fp32"}
    with pytest.raises(InputError, match=f"NaN or infinite in {precision}.*at exit 3; ") as error:
        run_policy(
            constant(None, None, broken),
            Policy(ExitCriterion(), (-INF, -INF)),
            random_images(9),
            4,
            engine,
            2,
        )
    assert remedy[precision] in str(error.value)
    assert str(error.value).isprintable()


def test_a_logit_of_minus_infinity_is_valid():
    """A logit of minus infinity is a probability of 0."""
    network = constant([0.0, -np.inf, 9.0, -np.inf])
    run = run_policy(network, Policy(ExitCriterion(), (0.5, 0.5)), random_images(9), 4, REFERENCE)
    assert set(run.exit) == {0}
    assert set(run.prediction) == {2}


def test_empty_batches_are_ignored():
    network, images = SmallNetwork().eval(), REFERENCE.prepare(random_images(20))
    runner = EarlyExitRunner(network, MIXED, REFERENCE, 4)
    whole = runner(images)
    parts = [images[:0], images[:7], images[:0], images[7:], images[:0]]
    for one, other in zip(whole, runner.run(parts), strict=True):
        torch.testing.assert_close(one, other)
