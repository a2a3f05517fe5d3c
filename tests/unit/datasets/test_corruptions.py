"""Corruptions: what each does to an image, by hand, and in pieces."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from early_exit.datasets import corruptions
from early_exit.datasets.corruptions import CONTRAST, KINDS, NOISE, STRENGTHS

SCHEMA = Path(corruptions.__file__).parents[1] / "config/schema.yaml"
IMAGES = np.random.default_rng(0).integers(0, 256, (10, 3, 8, 8)).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_stronger_ones_change_more_and_the_same_each_time(kind):
    changes = []
    for strength in range(STRENGTHS):
        before = IMAGES.copy()
        changed = KINDS[kind](IMAGES, strength)
        assert (changed.dtype, changed.shape) == (np.uint8, IMAGES.shape)
        np.testing.assert_array_equal(IMAGES, before)
        np.testing.assert_array_equal(KINDS[kind](IMAGES, strength), changed)
        changes.append(np.abs(changed.astype(int) - IMAGES).mean())
    assert 0 < changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_make_no_difference(kind, monkeypatch):
    whole = KINDS[kind](IMAGES, 1)
    monkeypatch.setattr(corruptions, "PIECE", 3)
    np.testing.assert_array_equal(KINDS[kind](IMAGES, 1), whole)


def test_contrast_by_hand():
    image = np.array([[[[0, 200]]]], np.uint8)
    half = [100 - CONTRAST[1] * 100, 100 + CONTRAST[1] * 100]
    assert KINDS["contrast"](image, 1).ravel().tolist() == half


def test_noise_has_its_standard_deviation_and_differs_between_images():
    grey = np.full((300, 1, 8, 8), 128, np.uint8)
    changed = KINDS["noise"](grey, 1).astype(float)
    assert changed.std() == pytest.approx(255 * NOISE[1], rel=0.05)
    # Also of two pieces.
    assert not np.array_equal(changed[0], changed[corruptions.PIECE])


def test_blur_keeps_a_plain_image():
    grey = np.full((1, 1, 8, 8), 77, np.uint8)
    np.testing.assert_array_equal(KINDS["blur"](grey, 2), grey)


def test_the_schema_has_the_same_kinds():
    experiment = yaml.safe_load(SCHEMA.read_text())["$defs"]["experiment"]["properties"]
    assert experiment["drift"]["properties"]["kinds"]["items"]["enum"] == list(KINDS)
