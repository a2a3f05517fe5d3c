"""Every measure has a label: axes and pages shall not show the name of a setting."""

import pytest

from early_exit.policy.measure_names import LABELS, label
from early_exit.records.uncertainty.measures import CONFIDENCE, NAMES


@pytest.mark.parametrize("name", [*NAMES, CONFIDENCE, "external"])
def test_every_measure_has_a_label(name):
    assert name in LABELS


def test_a_learned_confidence_is_turned():
    """Low is sure, so what is compared with the threshold is 1 - confidence."""
    assert label(CONFIDENCE) == "1 - confidence"
