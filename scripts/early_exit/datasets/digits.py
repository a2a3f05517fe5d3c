"""The UCI digits that scikit-learn ships: 1,797 scans of 8x8, resized to 3x32x32.

Real data without a download (Alpaydin and Kaynak 1998). scikit-learn's copy has no test split, so
one is cut off first, by the same seed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.datasets.base import Contents
from early_exit.errors import InputError

if TYPE_CHECKING:
    from early_exit.datasets.base import Split

CLASS_NAMES = tuple("0123456789")
SHAPE = (3, 32, 32)
SETTINGS = ("test",)
SAMPLES = 1797
TEST = 450
CALIBRATION = 450


def prepare(data_dir: Path, settings: dict[str, Any]) -> Contents:
    """Checksum of the embedded data; ``data_dir`` is neither read nor written."""
    images, labels = _read()
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    return Contents(CLASS_NAMES, SHAPE, {"sklearn.datasets.load_digits": digest})


def load(data_dir: Path, split: str, settings: dict[str, Any]) -> Split:
    """Read one split; see :mod:`early_exit.datasets.load`."""
    import torch

    from early_exit.datasets.base import Split
    from early_exit.datasets.splits import held_out

    test = TEST if settings["test"] is None else settings["test"]
    calibration = CALIBRATION if settings["calibration"] is None else settings["calibration"]
    if not 0 < test < SAMPLES:
        raise InputError(f"dataset.test: {test} of {SAMPLES} samples", f"give 1 to {SAMPLES - 1}")
    rest, chosen_test = held_out(SAMPLES, test, settings["split_seed"])
    train, chosen_calibration = held_out(len(rest), calibration, settings["split_seed"])
    index = {"train": rest[train], "calibration": rest[chosen_calibration], "test": chosen_test}
    images, labels = _read()
    chosen = index[split]
    return Split(
        _resize(torch.from_numpy(images)[chosen]), torch.from_numpy(labels)[chosen], chosen
    )


def _read() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images.astype("float32"), digits.target.astype("int64")


def _resize(images: Any) -> Any:
    """From (N, 8, 8) in 0..16 to (N, 3, 32, 32), uint8, bilinear."""
    import torch

    grey = images[:, None] * (255.0 / 16.0)
    large = torch.nn.functional.interpolate(grey, SHAPE[1:], mode="bilinear", align_corners=False)
    return large.round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
