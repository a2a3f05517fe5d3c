"""A run is compared with the records in every precision; the message names what is at fault."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from early_exit.errors import InputError
from early_exit.inference import rerun
from early_exit.inference.engine import PRECISIONS, REFERENCE, Engine
from early_exit.inference.exits import Outputs, all_exits
from early_exit.inference.regrouping import Queue
from early_exit.inference.runner import EarlyExitRunner, run_policy
from early_exit.policy.agreement import SPACING, Agreement, alike, explained_by
from early_exit.policy.criterion import ExitCriterion, ExitRule
from early_exit.policy.outcomes import Outcomes
from early_exit.policy.policy import Policy, uniform
from early_exit.records.table import from_logits
from helpers import PROVENANCE, SmallNetwork, make_records, random_images

SAMPLES, BATCH = 400, 32
POLICY = uniform(ExitCriterion(), 0.6, 3)
WARM = Policy(ExitCriterion("margin", ExitRule.BELOW, (0.5, 1.5, 3.0)), (0.5, 0.4))
ENGINES = {name: Engine("cpu", name) for name in PRECISIONS}


def network() -> SmallNetwork:
    return SmallNetwork().eval()


def recorded(load=network, seed: int = 0, precision: str = "fp32"):
    logits = all_exits(load(), random_images(SAMPLES, seed), BATCH, ENGINES[precision])
    return from_logits(np.arange(SAMPLES), np.arange(SAMPLES) % 4, logits, dict(PROVENANCE))


def ran(precision: str, policy=POLICY, load=network, regroup=16) -> Outcomes:
    return run_policy(load(), policy, random_images(SAMPLES), BATCH, ENGINES[precision], regroup)


def agree(precision: str, run: Outcomes, policy=POLICY, load=network, records=None):
    records = records or recorded(load, precision=precision)
    images, engine = random_images(SAMPLES), ENGINES[precision]
    return rerun.agree(policy, records, run, images, BATCH, engine, load, "test.parquet")


def test_spacing_of_each_precision():
    floating = {name: torch.finfo(kind).eps for name, kind in PRECISIONS.items()}
    # Of int8 the 256 numbers of a range of twice the largest.
    assert floating | {"int8": 2 / 256} == SPACING


@pytest.mark.parametrize("policy", [POLICY, WARM], ids=["entropy", "temperatures"])
@pytest.mark.parametrize("regroup", [None, 16])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_correct_run_is_accepted_in_every_precision(precision, regroup, policy):
    found = agree(precision, ran(precision, policy, regroup=regroup), policy)
    assert found.different == 0
    assert found.equal + found.ties + found.rounded == SAMPLES
    # The records are of that precision: no more than batches of other sizes change.
    assert found.rounded <= 0.02 * SAMPLES


def flipped(self, k, prediction, unsure, indices, exiting):
    """The planted fault: classes in the wrong order."""
    exited = indices[exiting]
    own = prediction[exiting].flip(0)
    self.exited.append((exited, own, torch.full_like(exited, k), unsure[exiting]))


def unsure_flipped(self, k, prediction, unsure, indices, exiting):
    exited = indices[exiting]
    own = prediction[exiting]
    self.exited.append((exited, own, torch.full_like(exited, k), unsure[exiting].flip(0)))


def placed_wrongly(self, k, prediction, unsure, indices, exiting):
    exited = indices[exiting].flip(0)
    own = prediction[exiting]
    self.exited.append((exited, own, torch.full_like(exited, k), unsure[exiting]))


@pytest.mark.parametrize("fault", [flipped, unsure_flipped, placed_wrongly])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_fault_in_the_runner_is_found_in_every_precision(monkeypatch, precision, fault):
    monkeypatch.setattr(EarlyExitRunner, "_record_exits", fault)
    with pytest.raises(InputError, match="the code that runs the policy is at fault") as error:
        agree(precision, ran(precision))
    message = str(error.value)
    assert "the records are correct, so the code that runs the policy is at fault" in message
    assert f"run on them in {precision}" in message
    assert message.isprintable()
    assert "delete" not in message


@pytest.mark.parametrize("precision", PRECISIONS)
def test_temperatures_of_another_exit_are_found(monkeypatch, precision):
    monkeypatch.setattr(
        Policy, "temperatures", property(lambda self: (0.5, 1.5, 3.0)), raising=False
    )
    run = ran(precision, POLICY)
    monkeypatch.undo()
    with pytest.raises(InputError, match="the code that runs the policy is at fault"):
        agree(precision, run, POLICY)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("what", ["prediction", "exit", "uncertainty", "no class", "nan"])
def test_one_sample_is_enough(precision, what):
    """Of those that differ in exit or class each is run again, whatever precision excuses."""
    run, records = ran(precision), recorded(precision=precision)
    assert agree(precision, run).different == 0
    # One that is far from every threshold.
    far = np.abs(records.uncertainty[:, :2] - 0.6).min(axis=1) > 0.3
    place = int(np.flatnonzero(far & (run.exit == 1))[0])
    change = {
        "prediction": lambda: run.prediction.__setitem__(place, (run.prediction[place] + 1) % 4),
        "no class": lambda: run.prediction.__setitem__(place, 4),
        "exit": lambda: run.exit.__setitem__(place, 2),
        "uncertainty": lambda: run.uncertainty.__setitem__(place, 0.05),
        "nan": lambda: run.uncertainty.__setitem__(place, np.nan),
    }
    change[what]()
    with pytest.raises(
        InputError, match=rf"1 of \d+ samples .* the first of them with index {place}:"
    ):
        agree(precision, run)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_records_of_another_network_are_at_fault(precision):
    other = recorded(lambda: SmallNetwork(seed=1).eval(), precision=precision)
    with pytest.raises(InputError, match="not of this network and data; delete them") as error:
        agree(precision, ran(precision), records=other)
    assert str(error.value).startswith("test.parquet: ")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_damaged_record_is_at_fault(precision):
    records, run = recorded(precision=precision), ran(precision)
    place = int(np.flatnonzero(run.exit == 0)[0])
    records.prediction[place, 0] = (records.prediction[place, 0] + 1) % 4
    with pytest.raises(InputError, match=r"test\.parquet: 1 of \d+ samples"):
        agree(precision, run, records=records)
    records = recorded(precision=precision)
    records.uncertainty[place, 0] = 1.2
    with pytest.raises(InputError, match=r"test\.parquet: 1 of \d+ samples"):
        agree(precision, run, records=records)


class Cancelling(nn.Module):
    """A large number comes and goes: in eight bits nothing is left of the rest."""

    def forward(self, features):
        return (features + 1000.0) - 1000.0


def cancelling() -> SmallNetwork:
    built = network()
    built.stages[0] = nn.Sequential(built.stages[0], Cancelling())
    return built


def test_records_of_another_precision_are_at_fault():
    """Nothing like those of the run's own, which are made in it."""
    run = ran("bf16", load=cancelling)
    with pytest.raises(InputError, match=r"again in bf16 .* not of this network and data"):
        agree("bf16", run, load=cancelling, records=recorded(cancelling))
    for precision in PRECISIONS:
        assert agree(precision, ran(precision, load=cancelling), load=cancelling).different == 0


@pytest.mark.parametrize("place", [0, 3, 4])
def test_the_exit_that_a_batch_spoils_is_named(place):
    """One of many is enough, however well the others do."""
    records = make_records(samples=200, exits=5)
    policy = uniform(ExitCriterion(), 0.6, 5)
    other = records.logits.copy()
    other[:, place] = records.logits[::-1, place]
    own, other, near = (
        Outputs(found, None) for found in (records.logits, other, 1.001 * records.logits)
    )
    with pytest.raises(InputError, match=rf"of exit {place + 1} change by .* other sizes"):
        rerun._check_batches(policy, records, own, other, "bf16")
    rerun._check_batches(policy, records, own, near, "bf16")


def test_nan_in_a_precision_is_named(monkeypatch):
    run, right = ran("bf16"), rerun.all_outputs

    def broken(network, images, batch_size, engine):
        found = right(network, images, batch_size, engine)
        if engine.precision == "bf16":
            found.logits[3, 1] = np.nan
        return found

    monkeypatch.setattr(rerun, "all_outputs", broken)
    with pytest.raises(InputError, match=r"in bf16 the network's logits are NaN .* at exit 2; set"):
        agree("bf16", run)


class Mixing(nn.Module):
    """What it makes of a sample depends on the others in the batch."""

    def forward(self, features):
        return features - features.mean(dim=0)


def mixing() -> SmallNetwork:
    built = network()
    built.stages[1] = nn.Sequential(Mixing(), built.stages[1])
    return built


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_network_that_mixes_samples_is_at_fault(precision):
    records = recorded(mixing, precision=precision)
    # The records of the very batch that is run again: what is at fault is what comes after it.
    run = ran(precision, load=mixing, regroup=None)
    images, engine = random_images(SAMPLES), ENGINES[precision]
    with pytest.raises(
        InputError, match=r"exit [23] .* treat every sample of a batch independently"
    ):
        rerun.agree(POLICY, records, run, images, BATCH, engine, mixing, "test.parquet")


def test_a_run_in_full_precision_without_a_difference_is_not_run_again():
    found = agree("fp32", ran("fp32"), load=lambda: pytest.fail("run again"), records=recorded())
    assert (found.equal + found.ties, found.rounded) == (SAMPLES, 0)


def test_a_tie_of_classes_is_settled_in_full_precision():
    """Two classes with the same logit: either may win, in batches of other sizes."""

    def tied() -> SmallNetwork:
        built = network()
        for head in built.heads:
            head.bias.data[0] += 300.0
            head.weight.data[1], head.bias.data[1] = head.weight.data[0], head.bias.data[0]
        return built

    records, run = recorded(tied), ran("fp32", load=tied)
    place = int(np.flatnonzero(run.prediction <= 1)[0])
    run.prediction[place] = 1 - run.prediction[place]
    assert alike(POLICY, records, run)[0].sum() == SAMPLES - 1
    assert agree("fp32", run, load=tied, records=records) == Agreement(SAMPLES - 1, 0, 0, 1)
    run.prediction[place] = 2
    with pytest.raises(InputError, match="at fault"):
        agree("fp32", run, load=tied, records=records)


def test_many_that_differ_are_run_again_in_part(monkeypatch):
    monkeypatch.setattr(rerun, "MOST", 10)
    monkeypatch.setattr(rerun, "SAMPLE", 5)
    run = ran("fp32")
    run.prediction[:] = (run.prediction + 1) % 4
    with pytest.raises(InputError) as error:
        agree("fp32", run)
    bad, again = map(int, re.search(r"(\d+) of (\d+) samples", str(error.value)).groups())
    assert bad == again
    assert 10 <= again <= 15


def test_a_tie_within_the_spread_of_batches_is_explained():
    """Twice what batches of other sizes change, and no more."""
    records, engine = recorded(), ENGINES["fp32"]
    logits = all_exits(network(), random_images(SAMPLES), BATCH, engine)
    run = ran("fp32", regroup=None)
    place = int(np.flatnonzero(run.exit == 1)[0])
    threshold = float(records.uncertainty[place, 1])
    policy = Policy(POLICY.criterion, (POLICY.thresholds[0], threshold + 0.011))
    moved = logits.copy()
    taken = policy.exits_taken(records.uncertainty)
    rows = np.arange(SAMPLES)
    run = Outcomes(records.prediction[rows, taken], taken, records.uncertainty[rows, taken])
    stays = replace(run, exit=run.exit.copy(), prediction=run.prediction.copy())
    stays.exit[place], stays.prediction[place] = 2, records.prediction[place, 2]
    stays.uncertainty[place] = records.uncertainty[place, 2]
    assert not rerun.explained(policy, records, stays, Outputs(logits, None), Outputs(moved, None))[
        place
    ]
    # Another sample's uncertainty at exit 2 moves by 0.01 or so with its batch.
    other = int(np.argmax(records.uncertainty[:, 1]))
    moved[other, 1] *= 1.2
    change = np.abs(
        from_logits(rows, records.label, moved, {}).uncertainty - records.uncertainty
    ).max(axis=0)
    assert change[1] > 0.0056
    assert rerun.explained(
        policy, records, stays, Outputs(logits, None), Outputs(moved, None)
    ).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_rounding_explains_is_a_small_part_of_the_range(precision):
    most = explained_by(precision, POLICY, make_records(samples=20, classes=10))
    assert most == pytest.approx(np.sqrt(SPACING[precision]) * np.log(10))
    assert most < 0.21


def test_batches_of_many_sizes_contain_every_sample_once():
    sizes = []
    built = network()
    built.stages[0].register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    images = random_images(150)
    found = rerun.in_many_sizes(built, images, 24, REFERENCE)
    assert sizes == [1, 2, 4, 8, 16, 24, 1, 2, 4, 8, 16, 24, 1, 2, 4, 8, 16, 9]
    np.testing.assert_allclose(
        found.logits, all_exits(network(), images, 150, REFERENCE), atol=1e-5
    )
    assert found.confidence is None


def test_a_queue_that_forgets_to_copy_is_found(monkeypatch):
    """The indices of a batch that was taken are overwritten by those that come after it."""
    right = Queue.take

    def shared(self):
        features, _ = right(self)
        return features, self.indices.rows[: len(features[0])]

    monkeypatch.setattr(Queue, "take", shared)
    try:
        run = ran("fp32")
    except (RuntimeError, IndexError):
        return
    with pytest.raises(InputError, match="at fault"):
        agree("fp32", run)
