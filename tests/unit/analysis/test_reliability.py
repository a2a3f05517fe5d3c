import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from early_exit.analysis.reliability import auroc, expected_calibration_error, of_exits, reliability
from helpers import make_records


def test_reliability_by_hand():
    # Two bins, below and above 0.5. An edge is in the bin below it.
    confidence = np.array([0.2, 0.5, 0.8, 1.0])
    correct = np.array([False, True, True, False])
    table = reliability(confidence, correct, bins=2)
    assert table.samples.tolist() == [2, 2]
    assert table.confidence.tolist() == pytest.approx([0.35, 0.9])
    assert table.accuracy.tolist() == [0.5, 0.5]
    assert expected_calibration_error(table) == pytest.approx((0.15 + 0.4) / 2)


def test_an_empty_bin_has_no_row():
    table = reliability(np.array([0.95, 0.99]), np.array([True, True]), bins=10)
    assert table.bin.tolist() == [9]


def test_auroc_by_hand():
    correct = np.array([True, True, False, False])
    assert auroc(np.array([0.1, 0.2, 0.3, 0.4]), correct) == 1
    assert auroc(np.array([0.4, 0.3, 0.2, 0.1]), correct) == 0
    assert auroc(np.zeros(4), correct) == 0.5
    assert np.isnan(auroc(np.zeros(4), np.ones(4, bool)))


def test_auroc_matches_scikit_learn():
    rng = np.random.default_rng(0)
    correct = rng.random(500) < 0.7
    uncertainty = np.round(rng.random(500) - 0.3 * correct, 1)
    assert auroc(uncertainty, correct) == pytest.approx(roc_auc_score(~correct, uncertainty))


def test_each_exit_with_and_without_its_temperature():
    records = make_records(samples=400)
    quality, bins = of_exits(records.pieces(150), (2.0, 1.0, 0.5), ["entropy", "margin"])
    assert quality.exit.tolist() == [1, 2, 3] * 2
    plain, scaled = quality[~quality.scaled], quality[quality.scaled]
    # Scaling changes no prediction, and here makes exit 1 less confident, exit 3 more.
    assert plain.accuracy.tolist() == scaled.accuracy.tolist()
    change = scaled.confidence.to_numpy() - plain.confidence.to_numpy()
    assert change[0] < 0 == change[1] < change[2]
    assert plain.auroc_margin.between(0.5, 1).all()
    assert bins.groupby(["exit", "scaled"]).samples.sum().eq(400).all()
