"""Doubts about times, from times that are made up."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

from early_exit.analysis.times import TIMES_DOUBTED, doubted, doubtful_times
from helpers import make_costs

# By name: where a measured time is, and the time, which is also its prediction.
WHERE = {
    "full": ("full_network", "ms_per_sample", 4.0),
    "all heads": ("full_network", "ms_per_sample_all_heads", 4.4),
    "policy": ("selected", "ms_per_sample", 2.0),
    "ideal": ("selected", "ms_per_sample_ideal", 1.8),
}
NAMES = {
    "full": "the full network took",
    "all heads": "the full network with all heads took",
    "policy": "the chosen policy took",
    "ideal": "the policy without overhead took",
}


def measured(spread=0.0, predicted=True, **times):
    """A result with these times, quartiles at that share on both sides, predicted as by default."""
    result = {"full_network": {}, "selected": {}}
    for name, (part, key, usual) in WHERE.items():
        ms = times.get(name.replace(" ", "_"), usual)
        result[part] |= {
            key: ms,
            f"{key}_predicted": usual if predicted else ms,
            f"{key}_quartiles": [ms * (1 - spread), ms * (1 + spread)],
        }
    return result


def test_times_as_predicted_are_not_doubtful():
    assert doubtful_times(measured(), make_costs()) == ""
    assert doubtful_times(measured(spread=0.15), make_costs()) == ""


@pytest.mark.parametrize("name", WHERE)
@pytest.mark.parametrize(
    ("factor", "doubtful"), [(1.4, False), (0.7, False), (1.6, True), (0.6, True)]
)
def test_every_time_far_from_its_prediction_is_doubtful(name, factor, doubtful):
    result = measured()
    part, key, usual = WHERE[name]
    # The prediction, so that no order is wrong.
    result[part][f"{key}_predicted"] = usual / factor
    found = doubtful_times(result)
    assert (f"{NAMES[name]} {usual:.3g} ms per sample ({usual / factor:.3g} pred" in found) is (
        doubtful
    )
    assert bool(found) is doubtful
    assert "\n" not in found


def test_the_digits_that_were_nine_times_as_fast():
    """0.42 ms were predicted and 0.90 measured; with more heads it was 0.65 (0.46 predicted)."""
    result = measured(full=0.9, all_heads=0.65, policy=0.095, ideal=0.09)
    for name, predicted in (("full", 0.42), ("all heads", 0.46), ("policy", 0.1), ("ideal", 0.09)):
        part, key, _ = WHERE[name]
        result[part][f"{key}_predicted"] = predicted
    found = doubtful_times(result)
    assert found.startswith(TIMES_DOUBTED)
    assert "the full network took 0.9 ms per sample (0.42 predicted)" in found
    assert (
        "the full network took 0.9 ms per sample, the full network with all heads, which is more"
        " work, 0.65 ms" in found
    )
    assert "policy" not in found.partition(". The machine")[0]


@pytest.mark.parametrize(
    ("less", "more"), [("ideal", "policy"), ("ideal", "all heads"), ("full", "all heads")]
)
@pytest.mark.parametrize(
    # The quartiles of 1.2 and 1 are apart at a spread of 5 %, not at one of 15 %.
    ("factor", "spread", "doubtful"),
    [(1.2, 0.05, True), (1.2, 0.15, False), (1.05, 0.0, False), (0.9, 0.0, False)],
)
def test_less_work_that_takes_longer_beyond_the_spread_is_doubtful(
    less, more, factor, spread, doubtful
):
    """Even if the predictions are as wrong as the times."""
    times = {"ideal": 0.1, "policy": 10.0, "full": 0.1, "all_heads": 10.0}
    times[more.replace(" ", "_")] = 2.0
    times[less] = 2.0 * factor
    found = doubtful_times(measured(spread, predicted=False, **times))
    assert ("which is more work, 2 ms" in found) is doubtful
    assert found.startswith(f"{TIMES_DOUBTED}: {NAMES[less]}") is doubtful
    assert bool(found) is doubtful


@pytest.mark.parametrize("name", WHERE)
def test_a_time_that_varies_is_doubtful(name):
    result = measured()
    part, key, usual = WHERE[name]
    result[part][f"{key}_quartiles"] = [0.8 * usual, 1.1 * usual]
    assert doubtful_times(result) == ""
    result[part][f"{key}_quartiles"] = [0.8 * usual, 1.3 * usual]
    expected = f"varied from {0.8 * usual:.3g} to {1.3 * usual:.3g} ms per sample between rounds"
    assert expected in doubtful_times(result)


def test_a_larger_batch_that_takes_less_time_is_doubtful():
    stages = np.array([[2.0, 4.0, 6.0], [1.0, 2.0, 3.0]])
    heads = np.array([[0.2, 0.2, 0.2], [0.1, 0.1, 0.1]])
    costs = replace(make_costs(), batch_sizes=np.array([1.0, 8.0]), stage_ms=stages, head_ms=heads)
    assert doubtful_times(measured(), costs) == ""
    # A batch of 1 took 2, 4 and 6 ms; one of 8 takes 2.4 ms in stage 2: less.
    costs.stage_ms[1, 1] = 0.3
    found = doubtful_times(measured(), costs)
    assert "stage 2 took 4 ms for a batch of 1, and 2.4 ms for one of 8" in found
    # So does the head, but 0.6 ms would be 5 % of the network, and it is less.
    costs.stage_ms[1, 1], costs.head_ms[1, 2] = 2.0, 0.01
    assert doubtful_times(measured(), costs) == ""
    costs.head_ms[0, 2] = 0.9
    assert "head 3 took 0.9 ms for a batch of 1, and 0.08 ms" in doubtful_times(measured(), costs)


def test_quartiles_that_are_not_known_are_not_doubted():
    result = deepcopy(measured())
    for part, key, _ in WHERE.values():
        del result[part][f"{key}_quartiles"]
    assert doubtful_times(result) == ""


def test_a_summary_with_another_doubt_does_not_doubt_its_times():
    assert doubted({"doubt": f"{TIMES_DOUBTED}: all"})
    assert not doubted({"doubt": "the splits differ"})
    assert not doubted({"doubt": None})
