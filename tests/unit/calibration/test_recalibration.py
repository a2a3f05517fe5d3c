"""Recalibration by labels and without: by hand, on the same records, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from early_exit.analysis.selection import Criterion, choose, with_full_network
from early_exit.calibration.calibrate import calibrate
from early_exit.calibration.recalibrate import (
    DELTA,
    LABELS,
    SHARES,
    delta_of,
    described,
    recalibrate,
    unit_of,
)
from early_exit.calibration.targets import Target
from early_exit.errors import InputError
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.description import describe
from early_exit.policy.operating_point import simulate
from early_exit.policy.policy import Policy, full_network
from early_exit.records.table import UNKNOWN
from helpers import make_costs, make_records

COSTS = make_costs()
CALIBRATION = make_records(samples=400, seed=1)
NEW = make_records(samples=300, seed=2)


def content_of(method="coordinate", target=None, criterion=None, unit="macs"):
    """Content of a policy.json, as the workflow's step selection makes it."""
    target, criterion = target or Target("macs_share", 0.6), criterion or ExitCriterion("margin")
    points = calibrate(method, CALIBRATION, COSTS, [target], criterion, unit)
    full = simulate(full_network(criterion, 3), CALIBRATION, COSTS)
    candidates = with_full_network([points], full)
    chosen = choose(candidates.iloc[:1], Criterion("ratio"), [criterion])
    described = describe(chosen, CALIBRATION, COSTS, {}, "net", {"dataset": "made"}, unit)
    return described | {"optimism": 0.01, "identity": {"network": "n" * 64, "split": "calibration"}}


def unlabelled(records):
    return replace(records, label=np.full(len(records), UNKNOWN))


@pytest.mark.parametrize("method", ["coordinate", "uniform", "accuracy_target", "certified"])
@pytest.mark.parametrize("unit", ["macs", "ms"])
def test_on_the_calibration_records_the_same_samples_exit(method, unit):
    target = Target("accuracy", 0.6) if method == "certified" else Target("drop", 0.02)
    content = content_of(method, target, unit=unit)
    policy = Policy.from_json(content["policy"])
    assert policy.exits_taken(policy.criterion.uncertainty(CALIBRATION)).min() < 2
    for records, by in ((CALIBRATION, LABELS), (unlabelled(CALIBRATION), SHARES)):
        found = recalibrate(content, records, COSTS)
        assert found.by == by
        uncertainty = policy.criterion.uncertainty(CALIBRATION)
        np.testing.assert_array_equal(
            found.policy.exits_taken(uncertainty), policy.exits_taken(uncertainty)
        )


def test_with_labels_it_is_calibrated_as_the_policy_was():
    content = content_of()
    found = recalibrate(content, NEW, COSTS)
    criterion = ExitCriterion("margin")
    (row,) = calibrate(
        "coordinate", NEW, COSTS, [Target("macs_share", 0.6)], criterion
    ).itertuples()
    assert found.policy.thresholds == pytest.approx((row.threshold_1, row.threshold_2))
    assert found.point(found.policy, COSTS).correct == row.correct
    assert found.before == Policy.from_json(content["policy"])
    assert found.certificate is None


def test_temperatures_are_those_of_the_policy():
    criterion = ExitCriterion("entropy", temperatures=(2.0, 1.5, 1.0))
    found = recalibrate(content_of(criterion=criterion), NEW, COSTS)
    assert found.policy.criterion == criterion
    scaled = criterion.uncertainty(NEW)[:, 0].tolist()
    assert found.policy.thresholds[0] in [*scaled, -np.inf, np.inf]


def test_the_cost_of_the_choice_is_that_of_the_policy():
    """Of two heads of one cost in MACs, one takes far longer."""
    slow = replace(COSTS, head_ms=np.array([[50.0, 0.1, 0.1]]))
    target = Target("drop", 0.05)
    thresholds = {}
    for unit in ("macs", "ms"):
        content = content_of(target=target, unit=unit)
        assert unit_of(content, COSTS) == unit
        thresholds[unit] = recalibrate(content, NEW, slow).policy.thresholds
    assert thresholds["ms"][0] == -np.inf != thresholds["macs"][0]
    assert unit_of({"cost": {}}, COSTS) == "macs"


def test_only_samples_with_labels_count_where_there_are_some():
    content = content_of()
    known = np.arange(300) % 2 == 0
    half = replace(NEW, label=np.where(known, NEW.label, UNKNOWN))
    found = recalibrate(content, half, COSTS)
    assert (found.by, len(found.records)) == (LABELS, 150)
    alone = recalibrate(content, NEW.select(np.flatnonzero(known)), COSTS)
    assert found.policy == alone.policy
    kept = recalibrate(content, half, COSTS, labels=False)
    assert (kept.by, len(kept.records)) == (SHARES, 300)


def test_a_certificate_is_made_anew_with_the_same_delta():
    content = content_of("certified", Target("accuracy", 0.6, delta=0.2))
    assert content["certificate"]["delta"] == 0.2
    found = recalibrate(content, NEW, COSTS)
    assert found.certificate["samples"] == 300
    assert found.certificate["delta"] == 0.2
    assert found.certificate["p_value"] <= 0.2
    assert found.certificate["loss"] == "error"
    # Ten of a hundred are right: nothing is certified, and no sample exits.
    wrong = replace(NEW, label=(NEW.prediction[:, -1] + 1) % 4)
    lost = recalibrate(content, wrong, COSTS)
    assert lost.certificate is None
    assert lost.policy == lost.policy.full_network
    again = described(content, lost, COSTS, {})
    assert delta_of(again) == 0.2
    # Better labels find thresholds again; without labels there is nothing to keep.
    assert recalibrate(again, NEW, COSTS).policy == found.policy
    with pytest.raises(InputError, match="no sample exits early under it, so there are no exit"):
        recalibrate(again, unlabelled(NEW), COSTS)
    assert delta_of(content_of()) == DELTA


def test_the_new_content_is_that_of_the_new_policy():
    content = content_of()
    found = recalibrate(content, NEW, COSTS)
    new = described(content, found, COSTS, {"records": "new.parquet"})
    point = simulate(found.policy, NEW, COSTS)
    assert new.keys() - content.keys() == {"recalibrated"}
    assert Policy.from_json(new["policy"]) == found.policy
    assert new["calibration"] == {
        "samples": 300,
        "accuracy": point.accuracy,
        "macs": point.macs,
        "ms_per_sample": point.ms,
        "exit_shares": point.exit_shares.tolist(),
    }
    for key in ("method", "target_kind", "target", "network", "data", "criterion"):
        assert new[key] == content[key], key
    assert new["cost"]["unit"] == "macs"
    assert new["optimism"] is None
    assert new["why"].endswith("by coordinate for 60 % of MACs on 300 new samples with labels")
    assert new["identity"] == {"network": "n" * 64, "split": "recalibration"}
    assert new["recalibrated"]["records"] == "new.parquet"
    assert new["recalibrated"]["thresholds_before"] == content["policy"]["thresholds"]


def test_without_labels_accuracy_is_not_known_and_the_shares_to_keep_are_the_first():
    content = content_of("certified", Target("accuracy", 0.6))
    first = described(content, recalibrate(content, unlabelled(NEW), COSTS), COSTS, {})
    assert first["certificate"] is first["calibration"]["accuracy"] is None
    assert first["full_network"]["accuracy"] is None
    # Tied samples: the shares of the second time are far from those of the first.
    tied = unlabelled(NEW.select(np.zeros(300, int)))
    second = described(first, recalibrate(first, tied, COSTS), COSTS, {})
    assert max(second["calibration"]["exit_shares"]) == 1
    third = recalibrate(second, unlabelled(CALIBRATION), COSTS)
    shares = third.point(third.policy, COSTS).exit_shares
    np.testing.assert_allclose(shares, content["calibration"]["exit_shares"], atol=1 / 400)


def test_what_cannot_be_recalibrated_is_refused():
    content = content_of()
    never = content | {"policy": full_network(ExitCriterion(), 3).to_json(), "target": None}
    few = replace(NEW, label=np.where(np.arange(300) < 99, NEW.label, UNKNOWN))
    untargeted = content | {"target": None, "target_kind": None}
    dear = content | {"target": 0.001}
    loss = content_of("certified", Target("accuracy", 0.6)) | {"target_kind": "macs"}
    for own, records, message in [
        (never, NEW, "is the full network, which has no thresholds and no target"),
        (content, NEW.select(np.arange(99)), "99 samples with labels, but at least 100"),
        (content, unlabelled(NEW).select(np.arange(99)), "99 samples, but at least 100"),
        (content, few, "are needed; label more, or keep the exit shares"),
        (untargeted, NEW, "was found by coordinate for no target"),
        (dear, NEW, "the first exit takes 17.5 % of MACs; keep the exit shares"),
        (loss, NEW, "certified takes an accuracy or a drop, not macs"),
    ]:
        with pytest.raises(InputError) as refused:
            recalibrate(own, records, COSTS)
        assert message in str(refused.value)
    with pytest.raises(InputError, match="0 samples with labels"):
        recalibrate(content, unlabelled(NEW), COSTS, labels=True)
    assert recalibrate(content, few, COSTS, labels=False).by == SHARES
