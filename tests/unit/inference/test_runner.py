import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from early_exit.calibration.shares import QuantileTracker
from early_exit.errors import InputError
from early_exit.inference import stopwatch, timing
from early_exit.inference.engine import REFERENCE, Engine
from early_exit.inference.exits import all_exits
from early_exit.inference.regrouping import Queue, keep
from early_exit.inference.runner import EarlyExitRunner, run_policy
from early_exit.inference.timing import time_policy
from early_exit.policy.agreement import compare
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.policy import Policy, full_network, uniform
from early_exit.records.table import from_logits
from early_exit.records.uncertainty.measures import NAMES, uses_earlier
from helpers import SmallNetwork, a_criterion, policies, random_images

# Fitted here, since fitting draws random numbers, which a strategy may not.
FITTED = [a_criterion(name, exits) for name in NAMES for exits in range(1, 5)]
CASES = st.integers(1, 4).flatmap(
    lambda exits: st.tuples(
        st.just(exits),
        st.sampled_from(NAMES).flatmap(lambda measure: policies(exits, measure)),
        st.one_of(st.none(), st.lists(st.floats(0.2, 5), min_size=exits, max_size=exits)),
    )
)


@pytest.mark.parametrize("regroup", [None, 5])
@pytest.mark.parametrize("name", [name for name in NAMES if uses_earlier(name)])
def test_each_sample_keeps_its_own_memory(name, regroup):
    """Some samples exit everywhere, so that batches shrink and are filled up with others."""
    network, images = SmallNetwork(4).eval(), random_images(60)
    logits = all_exits(network, images, 60, REFERENCE)
    records = from_logits(np.arange(60), np.arange(60) % 4, logits, {"split": "test"})
    criterion = a_criterion(name, 4)
    unsure = criterion.uncertainty(records)[:, :-1]
    # Between the least and the largest of each exit, which are one at the first exit of patience.
    policy = Policy(criterion, tuple(0.6 * unsure.min(axis=0) + 0.4 * unsure.max(axis=0)))
    run = run_policy(network, policy, images, 7, REFERENCE, regroup)
    assert len(set(run.exit)) > 1
    agreement = compare(policy, records, run)
    assert (agreement.equal, agreement.different) == (60, 0)


@settings(max_examples=160, deadline=None)
@given(
    case=CASES,
    samples=st.integers(2, 40),
    batch_size=st.integers(1, 45),
    regroup=st.one_of(st.none(), st.integers(1, 45)),
    seed=st.integers(0, 1000),
)
def test_the_run_equals_the_simulation(case, samples, batch_size, regroup, seed):
    exits, policy, temperatures = case
    policy = Policy(replace(policy.criterion, temperatures=temperatures), policy.thresholds)
    network = SmallNetwork(exits, seed=seed).eval()
    images = random_images(samples, seed)
    label = np.arange(samples) % 4
    logits = all_exits(network, images, samples, REFERENCE)
    records = from_logits(np.arange(samples), label, logits, {"split": "test"})
    run = run_policy(network, policy, images, batch_size, REFERENCE, regroup)
    agreement = compare(policy, records, run)
    assert agreement.different == 0
    assert agreement.equal + agreement.ties == samples
    rows = np.arange(samples)
    np.testing.assert_allclose(
        run.uncertainty,
        policy.criterion.uncertainty(records)[rows, run.exit],
        # Batches of another size round logits otherwise, by a share of the largest.
        atol=1e-5 * max(1.0, np.abs(logits).max()),
    )


@settings(max_examples=30)
@given(
    case=CASES,
    samples=st.integers(0, 30),
    batch_size=st.integers(1, 35),
    regroup=st.one_of(st.none(), st.integers(1, 35)),
)
def test_uncertainties_are_kept_of_every_exit_that_a_sample_reached(
    case, samples, batch_size, regroup
):
    exits, policy, temperatures = case
    policy = Policy(replace(policy.criterion, temperatures=temperatures), policy.thresholds)
    network, images = SmallNetwork(exits).eval(), random_images(samples)
    runner = EarlyExitRunner(network, policy, REFERENCE, regroup, keep_uncertainties=True)
    _, taken, unsure = runner.run(REFERENCE.batches(images, batch_size, ""))
    found = runner.uncertainties
    assert found.shape == (samples, exits)
    np.testing.assert_array_equal(found[np.arange(samples), taken], unsure)
    reached = np.arange(exits) <= taken.numpy()[:, None]
    np.testing.assert_array_equal(~np.isnan(found), reached & np.array(policy.heads_run))
    if samples:
        every = all_exits(network, images, samples, REFERENCE)
        records = from_logits(np.arange(samples), np.arange(samples) % 4, every, {}, whole=False)
        expected = policy.criterion.uncertainty(records)[~np.isnan(found)]
        atol = 1e-5 * max(1.0, np.abs(every).max())
        np.testing.assert_allclose(found[~np.isnan(found)], expected, atol=atol)


def test_uncertainties_of_an_earlier_run_are_not_kept():
    network, images = SmallNetwork().eval(), random_images(20)
    never, always = (uniform(ExitCriterion(), t, 3) for t in (1e-9, np.inf))
    runner = EarlyExitRunner(network, never, REFERENCE, keep_uncertainties=True)
    runner(REFERENCE.prepare(images))
    assert np.isfinite(runner.uncertainties).all()
    runner.policy = always
    runner(REFERENCE.prepare(images))
    assert np.isnan(runner.uncertainties[:, 1:]).all()


def test_a_tracker_holds_the_shares_of_a_running_network():
    """Images of less contrast, under thresholds for the others."""
    network, images = SmallNetwork().eval(), random_images(3000, seed=1)
    logits = all_exits(network, images, 500, REFERENCE)
    records = from_logits(np.arange(3000), np.arange(3000) % 4, logits, {})
    halves = np.median(records.uncertainty, axis=0)
    policy = Policy(ExitCriterion(), (float(halves[0]), float(halves[1])))
    shares = np.bincount(policy.exits_taken(records.uncertainty), minlength=3) / 3000
    faded = (images // 3) + 80
    runner = EarlyExitRunner(network, policy, REFERENCE, keep_uncertainties=True)
    tracker = QuantileTracker(policy, shares, window=800)
    taken = []
    for batch in REFERENCE.batches(faded, 50, ""):
        taken.append(runner(batch)[1])
        tracker.update(runner.uncertainties)
        runner.policy = tracker.policy
    first, last = (np.bincount(torch.cat(part), minlength=3) for part in (taken[:1], taken[-20:]))
    assert np.abs(first / 50 - shares).max() > 0.15
    np.testing.assert_allclose(last / 1000, shares, atol=0.06)
    with pytest.raises(InputError, match="made for 2 exits, the network has 3"):
        runner.policy = Policy(ExitCriterion(), (0.5,))


@pytest.mark.parametrize("rule", ExitRule)
def test_an_empty_batch_gives_empty_results(rule):
    network = SmallNetwork().eval()
    policy = uniform(ExitCriterion("entropy", rule), 0.5, 3)
    run = run_policy(network, policy, random_images(0), 8, REFERENCE)
    assert run.prediction.shape == run.exit.shape == run.uncertainty.shape == (0,)
    assert run.exit.dtype == np.int64


def counted(network):
    """How many samples each stage and head is given, by name."""
    seen: dict[str, int] = {}
    for kind, modules in (("stage", network.stages), ("head", network.heads)):
        for k, module in enumerate(modules, 1):

            def count(module, inputs, name=f"{kind} {k}"):
                seen[name] = seen.get(name, 0) + len(inputs[0])

            module.register_forward_pre_hook(count)
    return seen


def test_later_stages_do_not_run_for_exited_samples():
    network = SmallNetwork().eval()
    images = random_images(50)
    entropies = from_logits(
        np.arange(50), np.arange(50) % 4, all_exits(network, images, 50, REFERENCE), {}
    ).uncertainty
    policy = uniform(ExitCriterion(), float(np.median(entropies[:, 0])), 3)
    expected = policy.exits_taken(entropies)
    seen = counted(network)
    run_policy(network, policy, images, 50, REFERENCE)
    assert seen["stage 1"] == seen["head 1"] == 50
    assert seen["stage 2"] == seen["head 2"] == (expected > 0).sum() < 50
    assert seen["stage 3"] == seen["head 3"] == (expected > 1).sum()


@pytest.mark.parametrize("rule", ExitRule)
def test_each_exit_has_its_own_temperature(rule):
    network, images = SmallNetwork().eval(), random_images(200)
    logits = all_exits(network, images, 200, REFERENCE)
    records = from_logits(np.arange(200), np.arange(200) % 4, logits, {})
    own = (3.0, 8.0, 20.0)
    halves = np.median(records.uncertainty_by("entropy", own), axis=0)[:2]
    policy = Policy(ExitCriterion("entropy", rule, own), tuple(halves))
    for other in ((3.0,) * 3, (8.0, 8.0, 20.0), (3.0, 3.0, 20.0)):
        # A wrong one would be seen.
        seen = records.uncertainty_by("entropy", other)
        assert (policy.exits_taken(seen) != expected_of(policy, records)).sum() > 10
    run = run_policy(network, policy, images, 16, REFERENCE, 8)
    np.testing.assert_array_equal(run.exit, expected_of(policy, records))
    seen = records.uncertainty_by("entropy", policy.temperatures)[np.arange(200), run.exit]
    np.testing.assert_allclose(run.uncertainty, seen, atol=1e-5)


def expected_of(policy, records):
    return policy.exits_taken(policy.criterion.uncertainty(records))


def sizes(network, stage: int) -> list[int]:
    """How many samples a stage (from 0) is given, batch by batch."""
    seen: list[int] = []
    network.stages[stage].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    return seen


def test_remaining_samples_are_regrouped_into_full_batches():
    images = random_images(50)
    logits = all_exits(SmallNetwork().eval(), images, 50, REFERENCE)
    entropies = from_logits(np.arange(50), np.arange(50) % 4, logits, {}).uncertainty
    policy = uniform(ExitCriterion(), float(np.median(entropies[:, 0])), 3)
    for regroup in (8, None):
        network = SmallNetwork().eval()
        second = sizes(network, 1)
        run_policy(network, policy, images, 8, REFERENCE, regroup)
        stay = (policy.exits_taken(entropies) > 0).sum()
        assert sum(second) == stay
        # Full batches but the last; or those of the input, thinned out.
        assert (second[:-1] == [8] * (stay // 8)) == bool(regroup)


def test_full_batches_are_not_held():
    network, images = SmallNetwork().eval(), random_images(40)
    second = sizes(network, 1)
    policy = uniform(ExitCriterion(), 0.3, 3)
    runner = EarlyExitRunner(network, policy, REFERENCE, regroup=4)
    stay = (runner(REFERENCE.prepare(images))[1] > 0).sum()
    assert second == [stay]
    assert stay > 4


def test_runs_of_one_runner_are_independent():
    network, images = SmallNetwork().eval(), random_images(40)
    policy = uniform(ExitCriterion(), 0.8, 3)
    runner = EarlyExitRunner(network, policy, REFERENCE, regroup=4)
    whole = runner(REFERENCE.prepare(images))
    alone = EarlyExitRunner(network, policy, REFERENCE)(REFERENCE.prepare(images))
    assert torch.equal(whole[0], alone[0])
    assert torch.equal(whole[1], alone[1])
    again = runner(REFERENCE.prepare(images))
    assert torch.equal(whole[2], again[2])


def test_an_interrupted_run_does_not_affect_the_next():
    network, images = SmallNetwork().eval(), REFERENCE.prepare(random_images(40))
    runner = EarlyExitRunner(network, uniform(ExitCriterion(), 0.8, 3), REFERENCE, 16)
    whole = runner(images)

    def breaks_off():
        yield images[30:]
        raise OSError("an image cannot be read")

    with pytest.raises(OSError, match="cannot be read"):
        runner.run(breaks_off())
    assert len(runner.queues[1]) > 0
    again = runner(images)
    assert all(torch.equal(one, other) for one, other in zip(whole, again, strict=True))


@settings(max_examples=60)
@given(
    adds=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    size=st.integers(1, 6),
    format=st.sampled_from([torch.channels_last, torch.contiguous_format]),
)
def test_a_queue_returns_what_was_added(adds, size, format):
    queue, held, given_back, number = Queue(size), [], [], 0
    for count in adds:
        places = torch.arange(number, number + count)
        features = places.float()[:, None, None, None].expand(count, 2, 3, 4)
        features = features.contiguous(memory_format=format)
        staying = torch.arange(0, count, 2)
        queue.add(features, staying, places[staying])
        held += places[staying].tolist()
        number += count
        while queue.full:
            taken, at = queue.take()
            assert taken.shape == (size, 2, 3, 4)
            assert taken[:, 1, 2, 3].tolist() == at.tolist()
            given_back += at.tolist()
    while len(queue):
        taken, at = queue.take()
        assert taken[:, 0, 0, 0].tolist() == at.tolist()
        given_back += at.tolist()
    assert given_back == held


def test_a_head_at_which_no_sample_can_exit_is_not_run():
    network = SmallNetwork().eval()
    seen = counted(network)
    run_policy(
        network,
        full_network(ExitCriterion("entropy", ExitRule.ABOVE), 3),
        random_images(10),
        4,
        REFERENCE,
    )
    assert seen == {"stage 1": 10, "stage 2": 10, "stage 3": 10, "head 3": 10}


def test_nothing_runs_after_all_samples_exited():
    network = SmallNetwork().eval()
    seen = counted(network)
    rule = ExitRule.BELOW
    run_policy(
        network,
        Policy(ExitCriterion("entropy", rule), (rule.always, 0.5)),
        random_images(10),
        4,
        REFERENCE,
    )
    assert seen == {"stage 1": 10, "head 1": 10}


def test_a_policy_for_other_exits_is_refused():
    with pytest.raises(InputError, match="made for 2 exits, the network has 3"):
        EarlyExitRunner(SmallNetwork(), uniform(ExitCriterion(), 0.5, 2), REFERENCE)


def test_images_are_scaled_to_one():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert REFERENCE.prepare(images).flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert images.dtype == torch.uint8


def test_four_ways_are_timed_on_the_same_images():
    network = SmallNetwork().eval()
    policy = uniform(ExitCriterion(), 0.5, 3)
    times = time_policy(network, policy, random_images(50), 8, 3, REFERENCE)
    assert times.rounds.shape[1] == 4
    assert times.rounds.min() > 0
    fewer = time_policy(network, policy, random_images(5), 8, 3, REFERENCE)
    assert fewer.rounds.min() > 0


@pytest.mark.parametrize(
    ("samples", "size", "most", "starts"),
    [
        (50, 8, 4, [0, 14, 28, 42]),
        (50, 8, 100, [0, 8, 17, 25, 34, 42]),
        (48, 8, 6, [0, 8, 16, 24, 32, 40]),
        (50, 8, 1, [0]),
        (50, 8, 0, [0]),
        (5, 8, 3, [0]),
    ],
)
def test_timed_batches_are_spread_evenly(samples, size, most, starts):
    assert timing.spread_starts(samples, size, most) == starts
    images = torch.arange(samples, dtype=torch.uint8)[:, None, None, None]
    batches = timing.spread_batches(images, size, most, REFERENCE)
    assert [round(255 * float(batch[0])) for batch in batches] == starts
    assert all(len(batch) == min(size, samples) for batch in batches)


@given(samples=st.integers(1, 3000), size=st.integers(1, 300), most=st.integers(1, 300))
def test_no_sample_is_timed_in_two_batches(samples, size, most):
    starts = timing.spread_starts(samples, size, most)
    assert all(after - before >= size for before, after in pairwise(starts))
    assert starts[-1] + size <= max(samples, size)


class Slow(torch.nn.Module):
    """Counts its calls; by the test's clock each takes ten milliseconds."""

    calls = 0

    def forward(self, features):
        Slow.calls += 1
        return features


def clock(function, *arguments, engine):
    """Ten milliseconds for each call of a :class:`Slow`, and no others."""
    before = Slow.calls
    function(*arguments)
    return 10.0 * (Slow.calls - before)


@pytest.mark.parametrize("stay", [0.3, 0.7])
def test_a_time_is_the_mean_over_images_not_the_median(monkeypatch, stay):
    """One by one, most images are all quick or all slow: their median says nothing."""
    for module in (stopwatch, timing):
        monkeypatch.setattr(module, "milliseconds", clock)
    network, images = SmallNetwork(exits=2).eval(), random_images(40)
    logits = all_exits(network, images, 40, REFERENCE)
    network.stages[1] = torch.nn.Sequential(Slow(), network.stages[1])
    entropies = from_logits(np.arange(40), np.arange(40) % 4, logits, {}).uncertainty
    threshold = float(np.quantile(entropies[:, 0], 1 - stay))
    policy = uniform(ExitCriterion(), threshold, 2)
    times = time_policy(network, policy, images, 1, 40, REFERENCE).medians
    assert times["full_network"] == times["all_heads"] == 10
    assert times["policy"] == times["ideal"] == pytest.approx(10 * stay, abs=0.3)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_kept_samples_keep_values_and_memory_format(memory_format):
    features = torch.rand(6, 3, 4, 5).to(memory_format=memory_format)
    places = torch.tensor([0, 2, 5])
    kept = keep(features, places)
    assert torch.equal(kept, features[places])
    assert kept.is_contiguous(memory_format=memory_format)
    assert torch.equal(keep(features.flatten(1), places), features.flatten(1)[places])


class Moved(torch.nn.Module):
    """Does not go where it is told to."""

    def to(self, *place, **format):
        return self


@pytest.fixture
def tf32():
    """What says whether CUDA may round to it, as by default."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = True
    yield backends
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.mark.parametrize(
    ("device", "precision", "allowed"),
    [("cuda", "fp32", False), ("cuda", "bf16", True), ("cpu", "fp32", True)],
)
def test_fp32_switches_tf32_off_on_cuda(monkeypatch, tf32, device, precision, allowed):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    Engine(device, precision).ready(Moved())
    assert [backend.allow_tf32 for backend in tf32] == [allowed] * 2


def test_a_missing_device_is_named():
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match=r"inference\.device: no CUDA device"):
            Engine(device="cuda")


ENGINES = [
    Engine(device, precision, memory_format)
    for device in (["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
    for precision in ("fp32", "bf16")
    for memory_format in ("channels_last", "contiguous")
]


@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_every_engine_agrees_with_the_reference(engine):
    network, images = SmallNetwork().eval(), random_images(64)
    logits = all_exits(SmallNetwork().eval(), images, 64, REFERENCE)
    found = all_exits(network, images, 16, engine)
    assert found.dtype == np.float32
    exact = engine.precision == "fp32"
    np.testing.assert_allclose(found, logits, atol=1e-4 if exact else 0.5)
    policy = uniform(ExitCriterion(), 0.6, 3)
    records = from_logits(np.arange(64), np.arange(64) % 4, logits, {})
    run = run_policy(network, policy, images, 16, engine)
    assert (run.exit != policy.exits_taken(records.uncertainty)).sum() <= (0 if exact else 12)


def test_torch_alone_needs_no_other_runtime():
    """As in an installation with the extra `torch`."""
    code = """
import sys
for name in ("onnx", "onnxruntime", "onnxscript", "openvino"):
    sys.modules[name] = None
from early_exit.inference import cost, latency, rerun, runner, runtimes, speed, timing
from early_exit.cli import predict
"""
    subprocess.run([sys.executable, "-c", code], check=True)
