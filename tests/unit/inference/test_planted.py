"""Regression tests for planted faults that no other test found."""

import json
import re
import shutil
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import ceil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import beta, multinomial

from early_exit.analysis.selection import Criterion, choose, select
from early_exit.calibration.methods import coordinate, dynamic_programming, exact_grid
from early_exit.calibration.targets import Target, evaluate
from early_exit.errors import InputError
from early_exit.inference.regrouping import Queue
from early_exit.io.files import read_json, read_table, write_json, write_table
from early_exit.io.provenance import ORIGIN, check_same_provenance
from early_exit.policy.costs import CostModel
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import Policy
from early_exit.policy.samples import Samples
from early_exit.records.parquet import METADATA_KEY, read_records, write_records
from early_exit.statistics.exact_tests import (
    NEGLIGIBLE,
    NUISANCE,
    NUISANCE_OF_MANY,
    broken_drop_p_value,
    broken_error_p_value,
    drop_p_value,
    error_p_value,
)
from early_exit.statistics.intervals import wilson_lower_bound
from helpers import make_costs, make_records


def tail(samples: int, worse: float, better: float, holds) -> float:
    """How likely losses less gains are what ``holds``, by the definition."""
    losses, gains = np.indices((samples + 1, samples + 1)).reshape(2, -1)
    possible = (losses + gains <= samples) & holds(losses - gains)
    losses, gains = losses[possible], gains[possible]
    counts = np.stack([losses, gains, samples - losses - gains], axis=1)
    return float(multinomial.pmf(counts, samples, [worse, better, 1 - worse - better]).sum())


def largest_gain(better: int, samples: int, error: float) -> float:
    """Clopper and Pearson's upper limit of a share."""
    return float(beta.ppf(1 - error, better + 1, samples - better))


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (5, 0), (0, 2), (4, 3)])
def test_the_p_value_of_a_drop_is_that_of_its_definition(worse, better):
    samples, bound = 150, 0.1
    gain = largest_gain(better, samples, NUISANCE)
    expected = tail(samples, gain + bound, gain, lambda total: total <= worse - better)
    expected += NUISANCE + NEGLIGIBLE
    assert drop_p_value(worse, better, samples, bound) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("worse", "better"), [(25, 0), (30, 1), (40, 2)])
def test_the_p_value_of_a_broken_drop_is_that_of_its_definition(worse, better):
    samples, bound = 150, 0.1
    gain = largest_gain(better, samples, NUISANCE_OF_MANY)
    expected = tail(samples, gain + bound, gain, lambda total: total >= worse - better)
    expected += NUISANCE_OF_MANY + NEGLIGIBLE
    found = broken_drop_p_value(worse, better, samples, bound)
    assert found == pytest.approx(expected, rel=1e-9)


CERTIFIED = pd.DataFrame(
    {
        "method": ["certified", "certified", "full_network"],
        "target_kind": ["accuracy", "drop", None],
        "target": [0.98, 0.02, np.nan],
        "exit_rule": "below",
        "measure": "entropy",
        "threshold_1": [np.inf, 0.3, -np.inf],
        "samples": 1000,
        "correct": [985, 990, 995],
        "accuracy": [0.985, 0.99, 0.995],
        "macs": [1.0, 2.0, 3.0],
        "ms_per_sample": [1.0, 2.0, 3.0],
        "certified_loss": ["error", "drop", None],
        "certified_bound": [0.02, 0.02, np.nan],
        "certified_delta": [0.1, 0.1, np.nan],
        "certified_samples": [1000, 1000, np.nan],
        "certified_p_value": [0.01, 0.01, np.nan],
        "certified_p_value_stopped": [0.5, 0.5, np.nan],
    }
)


@pytest.mark.parametrize(("loss", "place"), [("error", 0), ("drop", 1)])
def test_a_certificate_of_another_loss_does_not_count(loss, place):
    """The error's is the faster one, and as low a bound."""
    criterion = Criterion("certified", certified_loss=loss, certified_bound=0.02)
    assert select(CERTIFIED, criterion)[0].method == "certified"
    assert select(CERTIFIED, criterion)[0].name == place
    chosen = choose(CERTIFIED, criterion)
    assert chosen["certificate"]["loss"] == loss
    # And the other's delta is not added to it.
    assert chosen["certificate"]["delta"] == pytest.approx(0.1)
    others = CERTIFIED[CERTIFIED.certified_loss != loss]
    with pytest.raises(InputError, match=f"no policy has a certificate that its {loss} is"):
        select(others, criterion)


def costs_in_two_sizes(batch_size: int, regroup: int) -> CostModel:
    ones = np.ones((2, 3))
    dearer = np.array([[4.0], [1.0]])
    return CostModel(
        ones[0],
        ones[0],
        np.array([1.0, 16.0]),
        10 * ones * dearer,
        2 * ones * dearer,
        3 * ones * dearer,
        batch_size,
        regroup,
    )


def test_cost_of_a_head_includes_its_overhead():
    unit_costs = costs_in_two_sizes(16, 0).in_unit("ms")
    assert unit_costs.stage == pytest.approx([10.0] * 3)
    assert unit_costs.head == pytest.approx([5.0] * 3)
    single = costs_in_two_sizes(1, 0).in_unit("ms")
    assert single.stage == pytest.approx([40.0] * 3)
    assert single.head == pytest.approx([20.0] * 3)


def test_regrouping_is_limited_to_the_batch_size():
    """In batches of 1 no sample is regrouped into a batch of 16."""
    policy = Policy(ExitCriterion(), (0.5, 0.5))
    shares = np.array([0.5, 0.25, 0.25])
    for batch_size in (1, 4):
        more = costs_in_two_sizes(batch_size, 16).predicted_ms(policy.heads_run, shares)
        same = costs_in_two_sizes(batch_size, batch_size).predicted_ms(policy.heads_run, shares)
        assert more == pytest.approx(same)
    # In batches of 1: three stages and heads with overhead, reached by 1, 1/2 and 1/4.
    assert costs_in_two_sizes(1, 16).predicted_ms(policy.heads_run, shares) == pytest.approx(
        60 * 1.75
    )
    # Regrouped into full batches, every stage costs the same per sample.
    full = costs_in_two_sizes(16, 64).predicted_ms(policy.heads_run, shares)
    assert full == pytest.approx(15 * 1.75)
    assert full < costs_in_two_sizes(16, 0).predicted_ms(policy.heads_run, shares)


@pytest.mark.parametrize("key", ["network", "data", "engine", "costs"])
def test_every_key_of_the_provenance_is_compared(key):
    one = dict.fromkeys(ORIGIN, "a")
    check_same_provenance(("one.csv", one), ("two.csv", dict(one)), ("three.csv", {}))
    words = re.escape(f"two.csv: made with {ORIGIN[key]} than one.csv")
    with pytest.raises(InputError, match=words):
        check_same_provenance(("one.csv", one), ("two.csv", one | {key: "b"}))
    assert ORIGIN.keys() == {"network", "data", "engine", "costs"}


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_a_file_at_the_path_of_another_is_refused(tmp_path, suffix):
    """The same bytes under another name: it was made for another place."""
    write, read = {
        "json": (lambda path: write_json(path, {"a": 1}), read_json),
        "csv": (
            lambda path: write_table(path, pd.DataFrame({"a": [1, 2]})),
            lambda path: read_table(path, []),
        ),
    }[suffix]
    mine, other = tmp_path / f"mine.{suffix}", tmp_path / f"other.{suffix}"
    write(mine)
    read(mine)
    shutil.copyfile(mine, other)
    with pytest.raises(InputError, match="another file in its place"):
        read(other)
    # In another folder it is the same file.
    (tmp_path / "copy").mkdir()
    shutil.copyfile(mine, tmp_path / "copy" / mine.name)
    read(tmp_path / "copy" / mine.name)


@pytest.mark.parametrize("samples", [10, 70, 100, 300, 5000])
def test_a_share_of_samples_is_an_exact_count(samples):
    """Whatever binary fractions make of it: 0.07 of 100 is 7.000000000000001 there."""
    correct = np.zeros((samples, 2), bool)
    drawn = Samples(np.zeros((samples, 1)), correct)
    for percent in range(1, 100):
        exact = ceil(Fraction(percent, 100) * samples)
        assert Target("accuracy", percent / 100).least_correct(drawn) == exact, percent
    correct[:, -1] = True
    for percent in range(1, 100):
        exact = ceil(Fraction(100 - percent, 100) * samples)
        assert Target("drop", percent / 100).least_correct(drawn) == exact, percent


def test_indices_that_were_taken_are_not_overwritten():
    queue = Queue(2)
    queue.add(torch.zeros(3, 4), torch.arange(3), torch.tensor([10, 11, 12]))
    _, taken = queue.take()
    queue.add(torch.zeros(3, 4), torch.arange(3), torch.tensor([20, 21, 22]))
    assert taken.tolist() == [10, 11]
    _, again = queue.take()
    queue.add(torch.zeros(2, 4), torch.arange(2), torch.tensor([30, 31]))
    assert again.tolist() == [12, 20]


def test_changed_metadata_of_records_is_refused(tmp_path):
    """Page checksums do not cover it."""
    path = tmp_path / "test.parquet"
    write_records(path, make_records())
    table = pq.read_table(path)
    said = json.loads(table.schema.metadata[METADATA_KEY])
    for key in ("split", "network", "data", "classes"):
        changed = said | {key: 5 if key == "classes" else "x" * 64}
        text = json.dumps(changed, sort_keys=True).encode()
        other = table.replace_schema_metadata({METADATA_KEY: text})
        pq.write_table(other, path, write_page_checksum=True)
        with pytest.raises(InputError, match="of its metadata does not match"):
            read_records(path)
    pq.write_table(table, path, write_page_checksum=True)
    assert len(read_records(path)) == 60


# And those that tests/mutate.py planted at random, and that survived.


@pytest.mark.parametrize("bound", [-0.1, 0.0, 1.0, 1.5])
def test_an_impossible_bound_of_the_error_is_refused(bound):
    for p_value in (error_p_value, broken_error_p_value):
        with pytest.raises(InputError, match="must lie between 0 and 1"):
            p_value(1, 10, bound)


@pytest.mark.parametrize("method", [coordinate, dynamic_programming])
def test_a_path_is_an_array_with_a_row_for_each_penalty(method):
    rng = np.random.default_rng(0)
    samples = Samples(rng.random((60, 3)), rng.random((60, 4)) < 0.7)
    path = method.path(samples, make_costs(4).in_unit("macs"))
    assert isinstance(path, np.ndarray)
    assert path.shape == (len(method.PENALTIES), 3)


def test_no_change_of_one_threshold_improves_a_descent():
    """One round over the exits is not enough for that: a later one changes who gets to it."""
    unit_costs, rounds = make_costs(4).in_unit("macs"), []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        hardness = rng.random((200, 1))
        correct = hardness * (1.2 - np.arange(4) / 4) < rng.random((200, 4))
        samples = Samples(np.clip(hardness + rng.normal(0, 0.2, (200, 3)), 0, 1), correct)
        start = np.full(3, np.inf if seed % 2 else -np.inf)
        found = coordinate.descend(samples, unit_costs, start, 0.3)
        once = start.copy()
        for k in range(3):
            once[k] = coordinate.best_cut(samples, unit_costs, once, k, 0.3)
            changed = found.copy()
            changed[k] = coordinate.best_cut(samples, unit_costs, found, k, 0.3)
            value = coordinate.objective(samples, unit_costs, found, 0.3)
            assert coordinate.objective(samples, unit_costs, changed, 0.3) <= value + 1e-9
        rounds.append((found == once).all())
    assert not all(rounds)


def test_the_grid_s_costs_are_exact_however_small():
    """Not only to a millionth of millions of MACs."""
    rng = np.random.default_rng(0)
    samples = Samples(rng.random((50, 3)), rng.random((50, 4)) < 0.7)
    unit_costs = make_costs(4).in_unit("macs")
    small = replace(unit_costs, stage=unit_costs.stage / 1e7, head=unit_costs.head / 1e7)
    grid = exact_grid.quantiles(samples, 4)
    cost = exact_grid.all_policies(samples, small, grid).cost
    for place in product(range(4), repeat=3):
        exact = evaluate(samples, small, grid[np.arange(3), list(place)])
        assert cost[place] == pytest.approx(exact.cost[0], rel=1e-12)


@pytest.mark.parametrize(
    "arguments", [(-1, 10, 0.9), (11, 10, 0.9), (5, 10, 1.0), (5, 10, 0.0), (1, 0, 0.9)]
)
def test_a_bound_of_impossible_counts_is_refused(arguments):
    with pytest.raises(InputError, match="interval of"):
        wilson_lower_bound(*arguments)


def test_the_path_takes_the_better_of_both_directions():
    unit_costs, differ = make_costs(4).in_unit("macs"), 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        hardness = rng.random((80, 1))
        correct = hardness * (1.2 - np.arange(4) / 4) < rng.random((80, 4))
        samples = Samples(np.clip(hardness + rng.normal(0, 0.2, (80, 3)), 0, 1), correct)
        up = coordinate._follow(samples, unit_costs, np.full(3, -np.inf), coordinate.PENALTIES)
        down = coordinate._follow(samples, unit_costs, up[-1], coordinate.PENALTIES[::-1])[::-1]
        rows = coordinate.path(samples, unit_costs)
        for row, *pair, penalty in zip(rows, up, down, coordinate.PENALTIES, strict=True):
            value = coordinate.objective(samples, unit_costs, row, penalty)
            values = [coordinate.objective(samples, unit_costs, one, penalty) for one in pair]
            assert value == max(values)
            differ += min(values) < max(values) - 1e-9
    assert differ > 0
