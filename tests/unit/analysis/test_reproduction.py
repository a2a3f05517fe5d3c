import numpy as np
import pytest

from early_exit.analysis.reproduction import (
    BATCH,
    overall_accuracy,
    published_accuracies,
    published_thresholds,
    reproduce,
)
from early_exit.policy.criterion import ExitCriterion
from early_exit.policy.policy import uniform
from early_exit.records.table import Records
from helpers import PROVENANCE, make_records


def made(entropy, right) -> Records:
    """Records with these entropies and correctness, both (N, K)."""
    label = np.arange(len(entropy)) % 2
    prediction = np.where(right, label[:, None], 1 - label[:, None])
    provenance = PROVENANCE | {"classes": 2, "exits": entropy.shape[1]}
    return Records(np.arange(len(label)), label, entropy, prediction, None, provenance)


def test_without_early_exits_the_published_weights_give_a_sixth():
    # Accuracy 0.84 at the last of six exits, all of which every sample reaches.
    entropy = np.zeros((BATCH * 2, 6), np.float32)
    right = np.zeros(entropy.shape, bool)
    right[: int(0.84 * BATCH), -1] = right[BATCH : BATCH + int(0.84 * BATCH), -1] = True
    each, overall = published_accuracies(made(entropy, right), np.ones(6))
    assert each[-1] == pytest.approx(0.84, abs=0.01)
    assert overall == pytest.approx(0.14, abs=0.01)
    policy = uniform(ExitCriterion(), -1.0, 6)
    assert overall_accuracy(policy, made(entropy, right)) == pytest.approx(0.84, abs=0.01)


def test_a_batch_without_exits_counts_as_0():
    # Two batches of 256: all samples of the first exit at exit 1, correctly; none of the second.
    entropy = np.zeros((2 * BATCH, 2), np.float32)
    entropy[:BATCH, 0] = 1.0
    right = np.ones(entropy.shape, bool)
    each, overall = published_accuracies(made(entropy, right), np.array([0.5, 0.5]))
    assert each.tolist() == [0.5, 0.5]
    # Weighted by 512 that reached exit 1 and 256 that reached exit 2.
    assert overall == pytest.approx(0.5)


def test_the_published_threshold_has_the_off_by_one_index():
    entropy = np.linspace(0, 1, 100, dtype=np.float32)[::-1].repeat(2).reshape(100, 2).copy()
    right = np.zeros(entropy.shape, bool)
    right[:, 1] = True
    # int(1 - 0.85 * 100) = -84, the 17th smallest of 100; the intended percentile is the 15th.
    found = published_thresholds(made(entropy, right), 0.85)
    assert found[0] == np.sort(entropy[:, 0])[16]
    assert found[1] == 0.0


def test_the_table_has_every_quantity():
    records = make_records(samples=600, exits=6, classes=10)
    table = reproduce(records, records)
    assert table.columns.tolist() == ["quantity", "published", "reproduced", "corrected"]
    assert len(table) == 1 + 6 + 6 + 6
    assert table.quantity.is_unique
    assert np.isinf(table.corrected.iloc[-1])
