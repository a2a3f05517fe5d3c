import pytest

from early_exit.calibration.targets import label
from early_exit.policy.units import cost_words, of_words


@pytest.mark.parametrize(
    ("macs", "words"),
    [
        (38.95e6, "38.95 M MACs"),
        (4.089e9, "4.09 G MACs"),
        (1.5e12, "1.50 T MACs"),
        (53_000, "53.00 k MACs"),
        (999_999.9, "1.00 M MACs"),
        (99, "99.00 MACs"),
        (0, "0.00 MACs"),
    ],
)
def test_macs_by_their_size(macs, words):
    assert cost_words(macs) == words


def test_part_and_whole_have_the_same_prefix():
    assert of_words(5.65e6, 14.8e6) == "5.65 of 14.80 M MACs"
    assert of_words(0.9e9, 4e9) == "0.90 of 4.00 G MACs"
    assert of_words(0.27, 1, "relative") == "cost 0.27 of 1"


def test_relative_costs_are_not_called_macs():
    assert cost_words(0.27, "relative") == "cost 0.27"
    assert label("macs", 0.5) == "macs 0.5"
    assert label("macs", 2e9) == "2 G MACs"
