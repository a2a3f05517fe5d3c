"""CIFAR-100 (Krizhevsky 2009): 50,000 training and 10,000 test images of 3x32x32.

The labels are the hundred fine ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.datasets import cifar
from early_exit.datasets.base import Contents

if TYPE_CHECKING:
    from early_exit.datasets.base import Split

CLASS_NAMES = (
    *("apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle"),
    *("bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle"),
    *("caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch"),
    *("crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest"),
    *("fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower"),
    *("leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain"),
    *("mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear"),
    *("pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum"),
    *("rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew"),
    *("skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar"),
    *("sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger"),
    *("tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree"),
    *("wolf", "woman", "worm"),
)
SHAPE = cifar.SHAPE
SETTINGS = ()
SOURCE = cifar.Source(
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    size=169_001_437,
    mirrors=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
    files={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
)


def prepare(data_dir: Path, settings: dict[str, Any]) -> Contents:
    """Check or download the files; see :func:`early_exit.datasets.cifar.prepare`."""
    return Contents(CLASS_NAMES, SHAPE, cifar.prepare(SOURCE, data_dir, settings))


def load(data_dir: Path, split: str, settings: dict[str, Any]) -> Split:
    """Read one split; see :func:`early_exit.datasets.cifar.load`."""
    from torchvision.datasets import CIFAR100

    return cifar.load(SOURCE, CIFAR100, data_dir, split, settings)
