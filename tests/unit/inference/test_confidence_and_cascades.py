"""Heads that return a confidence or take earlier logits: runs, their check, and costs by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from early_exit.errors import InputError
from early_exit.inference import cost
from early_exit.inference.cost import measure_costs
from early_exit.inference.engine import Engine
from early_exit.inference.exits import all_outputs
from early_exit.inference.rerun import agree
from early_exit.inference.runner import EarlyExitRunner, run_policy
from early_exit.networks.base import MultiExitNetwork
from early_exit.networks.checks import check_confidence
from early_exit.networks.custom import adopt
from early_exit.networks.heads import always_run
from early_exit.policy.agreement import explained_by
from early_exit.policy.costs import costs_from_table
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.records.table import from_logits
from early_exit.structures.inputs import InputSpec
from structured import CLASSES, NETWORKS, samples_of

SAMPLES = 200
SPEC = InputSpec.of_samples(torch.zeros(1, 7))
FP32, BF16 = Engine(images=False), Engine(precision="bf16", images=False)
CONFIDENCE = ExitCriterion("confidence")


def network_of(name, seed=0):
    torch.manual_seed(seed)
    return adopt(NETWORKS[name][0](CLASSES, SPEC.shapes), MultiExitNetwork).eval()


def recorded(network, engine=FP32):
    inputs, labels = samples_of("rows", SAMPLES)
    logits, confidence = all_outputs(network, inputs, 64, engine)
    given = np.arange(SAMPLES), labels.numpy(), logits, {}
    return inputs, from_logits(*given, confidence=confidence)


def policy_for(records, criterion=CONFIDENCE, quantile=0.4):
    unsure = criterion.uncertainty(records)
    return Policy(criterion, tuple(float(np.quantile(u, quantile)) for u in unsure.T[:-1]))


def check_equal(run, policy, records, atol=1e-6):
    taken = policy.exits_taken(policy.criterion.uncertainty(records))
    there = np.arange(SAMPLES), taken
    np.testing.assert_array_equal(run.exit, taken)
    np.testing.assert_array_equal(run.prediction, records.prediction[there])
    unsure = policy.criterion.uncertainty(records)[there]
    np.testing.assert_allclose(run.uncertainty, unsure, atol=atol)
    return set(taken)


@pytest.mark.parametrize("regroup", [None, 16])
@pytest.mark.parametrize("rule", ["below", "above"])
@pytest.mark.parametrize("name", ["confidence", "some of both"])
def test_a_run_by_confidence_equals_its_simulation(name, rule, regroup):
    network = network_of(name)
    inputs, records = recorded(network)
    # Temperatures change nothing, also where a head returns no confidence.
    criterion = ExitCriterion("confidence", rule, (0.5, 2.0, 3.0))
    policy = policy_for(records, criterion)
    run = run_policy(network, policy, inputs, 50, FP32, regroup)
    assert check_equal(run, policy, records) == {0, 1, 2}


def test_the_last_exit_may_be_the_only_one_without():
    network = network_of("some of both")
    _, records = recorded(network)
    largest = torch.from_numpy(records.logits[:, 2]).softmax(dim=1).amax(dim=1).numpy()
    np.testing.assert_allclose(records.confidence[:, 2], largest, atol=1e-6)
    assert records.confidence[:, :2].min() < 0


@pytest.mark.parametrize("engine", [FP32, BF16])
def test_evaluation_agrees_with_the_records(engine):
    network = network_of("confidence")
    inputs, records = recorded(network)
    policy = policy_for(records)
    run = run_policy(network, policy, inputs, 32, engine, 16)
    found = checked(policy, records, run, inputs, engine)
    assert found.different == 0
    assert found.equal + found.ties + found.rounded == SAMPLES


def checked(policy, records, run, inputs, engine=FP32):
    load = lambda: network_of("confidence")  # noqa: E731
    return agree(policy, records, run, inputs, 32, engine, load, "test.parquet")


def test_faults_of_confidences_are_found():
    network = network_of("confidence")
    inputs, records = recorded(network)
    policy = policy_for(records)
    run = run_policy(network, policy, inputs, 32, FP32)
    other = replace(records, confidence=records.confidence + np.float32(0.1))
    with pytest.raises(InputError, match=r"test\.parquet: \d+ of \d+ samples"):
        checked(policy, other, run, inputs)
    uncertainty = run.uncertainty.copy()
    uncertainty[7] += 0.05
    with pytest.raises(InputError, match=r"1 of \d+ samples .* with index 7"):
        checked(policy, records, replace(run, uncertainty=uncertainty), inputs)


def test_what_rounding_explains_grows_with_the_largest_confidence():
    _, records = recorded(network_of("confidence"))
    policy = policy_for(records)
    small = replace(records, confidence=records.confidence * np.float32(0))
    large = replace(records, confidence=records.confidence * np.float32(0) - np.float32(49))
    assert explained_by("fp32", policy, small) == pytest.approx(2**-11.5)
    assert explained_by("fp32", policy, large) == pytest.approx(50 * 2**-11.5)


def test_confidences_that_are_not_finite_are_named():
    network = network_of("confidence")
    network.heads[0].confidence.bias.data[:] = float("nan")
    inputs, _ = samples_of("rows", 20)
    with pytest.raises(InputError, match=r"the confidences of 20 samples are NaN.* at exit 3"):
        network.heads[2].confidence.bias.data[:] = float("inf")
        run_policy(network, Policy(CONFIDENCE, (0.5, "never")), inputs, 8, FP32)


def test_a_network_without_confidences_is_refused():
    network, rows = network_of("rows"), SPEC.batch(2)
    check_confidence(network, rows, ["margin"])
    check_confidence(network_of("some of both"), rows, ["confidence"])
    message = "measure: confidence is what heads return with their logits, but no head"
    with pytest.raises(InputError, match=message):
        check_confidence(network, rows, ["margin", "confidence"])
    with pytest.raises(InputError, match=message):
        measure_costs(network, SPEC, [4], 3, ["margin", "confidence"], FP32)


@pytest.mark.parametrize("engine", [FP32, BF16])
@pytest.mark.parametrize("measured", [["confidence"], ["gate", "confidence", "margin"]])
@pytest.mark.parametrize("name", ["confidence", "some of both"])
def test_the_overhead_of_a_confidence_is_timed(name, measured, engine):
    costs = measure_costs(network_of(name), SPEC, [1, 4], 3, measured, engine)
    assert (costs.ms_per_sample[costs.part == "overhead"] > 0).all()
    assert len(costs) == 2 * 3 * 3


# Multiply-accumulates of the stages: 7, 16, 16 features to 16; and of heads of 5 classes, which
# take features, and in a cascade the logits of earlier exits.
STAGES = [7 * 16, 16 * 16, 16 * 16]
HEADS = {
    "rows": [16 * 5] * 3,
    "cascade": [16 * 5, (16 + 5) * 5, (16 + 10) * 5],
    "some of both": [16 * 6, (16 + 5) * 5 + 16, 16 * 5],
}


@pytest.mark.parametrize(("name", "needed"), [("rows", 0), ("cascade", 2), ("some of both", 1)])
def test_heads_that_later_ones_need_count_with_their_stage(name, needed):
    network = network_of(name)
    assert always_run(network) == needed
    table = measure_costs(network, SPEC, [1, 4], 3, ["margin"], FP32)
    model = costs_from_table(table, "costs", 4)
    heads = np.array(HEADS[name])
    early = np.arange(3) < needed
    np.testing.assert_array_equal(model.stage_macs, STAGES + heads * early)
    np.testing.assert_array_equal(model.head_macs, heads * ~early)
    np.testing.assert_array_equal(model.head_ms[:, :needed], 0)
    assert (model.head_ms[:, needed:] > 0).all()
    every, never = (True, True, True), (False, True, True)
    # At exit 1 and after it, as the head runs in any case; and else it is saved.
    saved = 0 if needed else heads[0]
    np.testing.assert_array_equal(model.macs(every) - model.macs(never), [saved] * 3)
    shares = np.array([0.0, 0.5, 0.5])
    ideal = model.ideal_ms(every, shares) - model.ideal_ms(never, shares)
    assert ideal == pytest.approx(0.0, abs=1e-12) if needed else ideal > 0
    # What is not run then is the decision alone.
    differs = model.ms(every) - model.ms(never)
    np.testing.assert_allclose(differs, model.head_ms[1, 0] + model.overhead_ms[1, 0])


def test_times_are_added_in_each_round(monkeypatch):
    """The median of sums is not the sum of medians."""
    given = {("stage", 1): (1.0, 2.0, 9.0), ("head", 1): (8.0, 3.0, 1.0)}

    def timed(parts, rounds, engine):
        return [given.get((part.part, part.exit), (4.0,) * rounds) for part in parts]

    monkeypatch.setattr(cost, "timed_rounds", timed)
    table = measure_costs(network_of("cascade"), SPEC, [2], 3, ["margin"], FP32)
    rows = table.set_index(["part", "exit"])
    low, median, high = (rows[name] for name in ("ms_low", "ms_per_sample", "ms_high"))
    # Sums 9, 5 and 10, for two samples.
    assert (low["stage", 1], median["stage", 1], high["stage", 1]) == (2.5, 4.5, 5.0)
    assert (low["head", 1], median["head", 1], high["head", 1]) == (0.0, 0.0, 0.0)
    assert (median["stage", 2], median["head", 2]) == (4.0, 0.0)
    assert (median["stage", 3], median["head", 3]) == (2.0, 2.0)
    assert (median["overhead", 1], rows.batch_size["head", 1]) == (2.0, 2)


@pytest.mark.parametrize("regroup", [None, 16])
@pytest.mark.parametrize("off", [0, 1])
@pytest.mark.parametrize("name", ["cascade", "some of both"])
def test_a_head_is_run_for_later_ones_but_not_asked(name, off, regroup):
    network = network_of(name)
    inputs, records = recorded(network)
    policy = policy_for(records, ExitCriterion("margin"))
    thresholds = [*policy.thresholds]
    thresholds[off] = "never"
    policy = Policy(policy.criterion, tuple(thresholds))
    runner = EarlyExitRunner(network, policy, FP32, regroup, keep_uncertainties=True)
    needed = off < always_run(network)
    assert runner.runs[off] == needed
    run = run_policy(network, policy, inputs, 50, FP32, regroup)
    assert check_equal(run, policy, records, 1e-5) == {0, 1, 2} - {off}
    runner.run([FP32.prepare(inputs)])
    assert np.isnan(runner.uncertainties[:, off]).all()
