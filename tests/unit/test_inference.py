from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from early_exit import timing
from early_exit.engine import REFERENCE, Engine
from early_exit.errors import InputError
from early_exit.evaluation import compare
from early_exit.extraction import all_exits
from early_exit.inference import EarlyExitRunner, run_policy
from early_exit.policy import ExitRule, Policy, uniform, whole_network
from early_exit.records import from_logits
from early_exit.timing import time_policy
from early_exit.waiting import Queue, keep
from helpers import SmallNetwork, pictures, policies

CASES = st.integers(1, 4).flatmap(
    lambda exits: st.tuples(
        st.just(exits),
        st.sampled_from(["entropy", "max_probability", "margin"]).flatmap(
            lambda measure: policies(exits, measure)
        ),
    )
)


@settings(max_examples=80)
@given(
    case=CASES,
    samples=st.integers(2, 40),
    batch_size=st.integers(1, 45),
    regroup=st.one_of(st.none(), st.integers(1, 45)),
    seed=st.integers(0, 1000),
)
def test_the_run_equals_the_simulation(case, samples, batch_size, regroup, seed):
    exits, policy = case
    network = SmallNetwork(exits, seed=seed).eval()
    images = pictures(samples, seed)
    label = np.arange(samples) % 4
    logits = all_exits(network, images, samples, REFERENCE)
    records = from_logits(np.arange(samples), label, logits, {"split": "test"})
    run = run_policy(network, policy, images, batch_size, REFERENCE, regroup)
    agreement = compare(policy, records, run)
    assert agreement.different == 0
    assert agreement.equal + agreement.ties == samples
    rows = np.arange(samples)
    np.testing.assert_allclose(
        run.uncertainty, records.uncertainty(policy.measure)[rows, run.exit], atol=1e-5
    )


@pytest.mark.parametrize("rule", ExitRule)
def test_an_empty_batch_gives_empty_results(rule):
    network = SmallNetwork().eval()
    policy = uniform("entropy", rule, 0.5, 3)
    run = run_policy(network, policy, pictures(0), 8, REFERENCE)
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


def test_what_left_is_not_computed():
    network = SmallNetwork().eval()
    images = pictures(50)
    entropies = from_logits(
        np.arange(50), np.arange(50) % 4, all_exits(network, images, 50, REFERENCE), {}
    ).entropy
    policy = uniform("entropy", ExitRule.BELOW, float(np.median(entropies[:, 0])), 3)
    expected = policy.exits_taken(entropies)
    seen = counted(network)
    run_policy(network, policy, images, 50, REFERENCE)
    assert seen["stage 1"] == seen["head 1"] == 50
    assert seen["stage 2"] == seen["head 2"] == (expected > 0).sum() < 50
    assert seen["stage 3"] == seen["head 3"] == (expected > 1).sum()


def sizes(network, stage: int) -> list[int]:
    """How many samples a stage (from 0) is given, batch by batch."""
    seen: list[int] = []
    network.stages[stage].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    return seen


def test_those_that_stay_wait_for_a_full_batch():
    images = pictures(50)
    logits = all_exits(SmallNetwork().eval(), images, 50, REFERENCE)
    entropies = from_logits(np.arange(50), np.arange(50) % 4, logits, {}).entropy
    policy = uniform("entropy", ExitRule.BELOW, float(np.median(entropies[:, 0])), 3)
    for regroup in (8, None):
        network = SmallNetwork().eval()
        second = sizes(network, 1)
        run_policy(network, policy, images, 8, REFERENCE, regroup)
        stay = (policy.exits_taken(entropies) > 0).sum()
        assert sum(second) == stay
        # Full batches but the last; or those of the input, thinned out.
        assert (second[:-1] == [8] * (stay // 8)) == bool(regroup)


def test_what_is_enough_by_itself_does_not_wait():
    network, images = SmallNetwork().eval(), pictures(40)
    second = sizes(network, 1)
    policy = uniform("entropy", ExitRule.BELOW, 0.3, 3)
    runner = EarlyExitRunner(network, policy, REFERENCE, regroup=4)
    stay = (runner(REFERENCE.pictures(images))[1] > 0).sum()
    assert second == [stay]
    assert stay > 4


def test_nothing_of_one_run_is_left_for_the_next():
    network, images = SmallNetwork().eval(), pictures(40)
    policy = uniform("entropy", ExitRule.BELOW, 0.8, 3)
    runner = EarlyExitRunner(network, policy, REFERENCE, regroup=4)
    whole = runner(REFERENCE.pictures(images))
    alone = EarlyExitRunner(network, policy, REFERENCE)(REFERENCE.pictures(images))
    assert torch.equal(whole[0], alone[0])
    assert torch.equal(whole[1], alone[1])
    again = runner(REFERENCE.pictures(images))
    assert torch.equal(whole[2], again[2])


def test_nothing_of_a_run_that_broke_off_is_left_for_the_next():
    network, images = SmallNetwork().eval(), REFERENCE.pictures(pictures(40))
    runner = EarlyExitRunner(network, uniform("entropy", ExitRule.BELOW, 0.8, 3), REFERENCE, 16)
    whole = runner(images)

    def breaks_off():
        yield images[30:]
        raise OSError("a picture cannot be read")

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
def test_a_queue_gives_back_what_was_put_in(adds, size, format):
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


def test_a_head_at_which_nobody_leaves_is_not_run():
    network = SmallNetwork().eval()
    seen = counted(network)
    run_policy(network, whole_network("entropy", ExitRule.ABOVE, 3), pictures(10), 4, REFERENCE)
    assert seen == {"stage 1": 10, "stage 2": 10, "stage 3": 10, "head 3": 10}


def test_nothing_runs_once_everybody_left():
    network = SmallNetwork().eval()
    seen = counted(network)
    rule = ExitRule.BELOW
    run_policy(network, Policy("entropy", rule, (rule.always, 0.5)), pictures(10), 4, REFERENCE)
    assert seen == {"stage 1": 10, "head 1": 10}


def test_a_policy_for_other_exits_is_refused():
    with pytest.raises(InputError, match="made for 2 exits, the network has 3"):
        EarlyExitRunner(SmallNetwork(), uniform("entropy", ExitRule.BELOW, 0.5, 2), REFERENCE)


def test_pictures_are_scaled_to_one():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert REFERENCE.pictures(images).flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert images.dtype == torch.uint8


def test_four_ways_are_timed_on_the_same_pictures():
    network = SmallNetwork().eval()
    policy = uniform("entropy", ExitRule.BELOW, 0.5, 3)
    times = time_policy(network, policy, pictures(50), 8, 3, REFERENCE)
    assert min(times.static, times.all_heads, times.policy, times.ideal) > 0
    fewer = time_policy(network, policy, pictures(5), 8, 3, REFERENCE)
    assert fewer.policy > 0


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
def test_what_is_timed_is_spread_evenly(samples, size, most, starts):
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
def test_a_time_is_the_mean_over_pictures_not_that_of_the_usual_one(monkeypatch, stay):
    """One by one, most pictures are all quick or all slow: their median says nothing."""
    monkeypatch.setattr(timing, "milliseconds", clock)
    network, images = SmallNetwork(exits=2).eval(), pictures(40)
    logits = all_exits(network, images, 40, REFERENCE)
    network.stages[1] = torch.nn.Sequential(Slow(), network.stages[1])
    entropies = from_logits(np.arange(40), np.arange(40) % 4, logits, {}).entropy
    threshold = float(np.quantile(entropies[:, 0], 1 - stay))
    policy = uniform("entropy", ExitRule.BELOW, threshold, 2)
    times = time_policy(network, policy, images, 1, 40, REFERENCE)
    assert times.static == times.all_heads == 10
    assert times.policy == times.ideal == pytest.approx(10 * stay, abs=0.3)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_what_stays_keeps_its_values_and_its_memory_format(memory_format):
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
def test_full_precision_is_full_precision_on_cuda_too(
    monkeypatch, tf32, device, precision, allowed
):
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
    network, images = SmallNetwork().eval(), pictures(64)
    logits = all_exits(SmallNetwork().eval(), images, 64, REFERENCE)
    found = all_exits(network, images, 16, engine)
    assert found.dtype == np.float32
    exact = engine.precision == "fp32"
    np.testing.assert_allclose(found, logits, atol=1e-4 if exact else 0.5)
    policy = uniform("entropy", ExitRule.BELOW, 0.6, 3)
    records = from_logits(np.arange(64), np.arange(64) % 4, logits, {})
    agreement = compare(policy, records, run_policy(network, policy, images, 16, engine))
    assert agreement.different <= (0 if exact else 12)
